// `node verify.js RECORDS FILE…`: for each message, the results of its DKIM signatures, topmost first, as one line of
// JSON. RECORDS is a JSON object of TXT records by name.
const fs = require('fs');
const { dkimVerify } = require('mailauth/lib/dkim/verify');

const [recordsFile, ...files] = process.argv.slice(2);
const records = JSON.parse(fs.readFileSync(recordsFile, 'utf8'));

async function resolver(name, type) {
    if (type === 'TXT' && name in records) {
        return [[records[name]]];
    }
    const error = new Error(`no ${type} of ${name}`);
    error.code = 'ENOTFOUND';
    throw error;
}

async function main() {
    for (const file of files) {
        const { results } = await dkimVerify(fs.createReadStream(file), { resolver });
        console.log(JSON.stringify(results.map(it => `${it.algo} ${it.signingDomain} ${it.status.result}`)));
    }
}

main();
