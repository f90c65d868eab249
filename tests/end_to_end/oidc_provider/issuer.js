// Issues access tokens with oidc-provider on a free loopback port. The first argument is JSON: {clients, refreshOf}.
// Prints one line of JSON when it listens: {port, refresh}, where refresh is a refresh token of the client refreshOf.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { clients, refreshOf } = JSON.parse(process.argv[2]);
const server = createServer();
server.listen(0, '127.0.0.1', async () => {
  const { port } = server.address();
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients,
    scopes: ['openid', 'offline_access', 'mail'],
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      devInteractions: { enabled: false },
    },
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384'] },
    rotateRefreshToken: true,
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
    ttl: { AccessToken: 600, ClientCredentials: 600, RefreshToken: 3600, Grant: 3600 },
  });
  server.on('request', provider.callback());
  let refresh = null;
  if (refreshOf) {
    const client = await provider.Client.find(refreshOf);
    const grant = new provider.Grant({ clientId: refreshOf, accountId: 'ann' });
    grant.addOIDCScope('openid offline_access mail');
    const token = new provider.RefreshToken({
      accountId: 'ann', client, grantId: await grant.save(), gty: 'authorization_code', scope: 'openid offline_access mail',
      authTime: Math.floor(Date.now() / 1000), claims: {}, sessionUid: 's', expiresWithSession: false,
    });
    refresh = await token.save();
  }
  console.log(JSON.stringify({ port, refresh }));
});
