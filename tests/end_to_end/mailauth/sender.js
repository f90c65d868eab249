// `node sender.js CASES [strict]`: what mailauth says about each case of a JSON file, as one line of JSON each: SPF, DMARC,
// the policy, and the reason that SPF gives. The zone of a case maps names to records:
// {"dest.test": {"txt": […], "a": […], "mx": [[10, "host"]], "rcode": "SERVFAIL"}}.
const fs = require('fs');
const { spf } = require('mailauth/lib/spf');
const dmarc = require('mailauth/lib/dmarc/verify');

function failure(code) {
    const error = new Error(code);
    error.code = code;
    return error;
}

function resolverOf(zone) {
    const names = Object.keys(zone);
    return async (name, type) => {
        name = name.toLowerCase().replace(/\.$/, '');
        const node = zone[name];
        if (!node) {
            throw failure(names.some(it => it.endsWith(`.${name}`)) ? 'ENODATA' : 'ENOTFOUND');
        }
        if (node.rcode) {
            throw failure('ESERVFAIL');
        }
        const records = node[type.toLowerCase()] || [];
        if (!records.length) {
            throw failure('ENODATA');
        }
        switch (type) {
            case 'TXT':
                return records.map(text => [text]);
            case 'MX':
                return records.map(([priority, exchange]) => ({ priority, exchange }));
            default:
                return records;
        }
    };
}

async function main() {
    const strict = process.argv[3] === 'strict';
    for (const it of JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))) {
        const resolver = resolverOf(it.zone);
        const said = await spf({
            ip: it.ip,
            sender: `postmaster@${it.mail_from}`,
            helo: it.mail_from,
            mta: 'mx.test',
            strict,
            resolver
        });
        const passed = said.status.result === 'pass' ? [{ domain: it.mail_from }] : [];
        const found = await dmarc({
            headerFrom: [`a@${it.author}`],
            spfDomains: passed,
            dkimDomains: it.dkim.map(domain => ({ domain })),
            strict,
            resolver
        });
        console.log(JSON.stringify([said.status.result, found.status.result, found.policy || null, String(said.status.comment)]));
    }
}

main();
