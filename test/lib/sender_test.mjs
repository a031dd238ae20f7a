// The sample sender in Node against a provider that logs outside the
// database. Run by test/suites/sender-node, which says where things are:
// SENDER_HOME, the folder of the sender, and a database with people's
// reminders in the outbox (test/fixtures/senders.sql). Prints TAP.
import http from 'node:http';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const db = new pg.Client({ database: process.env.SENDER_DB });
await db.connect();
const value = async (sql, ...args) => Object.values((await db.query(sql, args)).rows[0] ?? { x: null })[0];

// ---- TAP ----------------------------------------------------------------
let n = 0, failed = 0;
function is(got, want, what) {
    const good = JSON.stringify(got) === JSON.stringify(want);
    console.log(`${good ? 'ok' : 'not ok'} ${++n} - ${what}`);
    if (!good) { failed++; console.log(`#      got: ${JSON.stringify(got)}\n# expected: ${JSON.stringify(want)}`); }
}
async function until(what, condition) {
    for (const end = Date.now() + 20000; Date.now() < end; await sleep(30)) if (await condition()) return;
    console.log(`# gave up waiting until ${what}`);
}

// ---- the provider ---------------------------------------------------------
const accepted = []; // {key, address, headers, data}
const asked = {}; // address -> requests
let onAccept = async () => {};
const provider = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const m = JSON.parse(body), address = m.contact.address, kind = address.split('@')[0].replace(/\d+$/, '');
    asked[address] = (asked[address] ?? 0) + 1;
    if (kind === 'gone') return response.writeHead(422).end('no such address');
    if (kind === 'busy' && asked[address] === 1) return response.writeHead(429, { 'Retry-After': '1' }).end('slow down');
    accepted.push({ key: m.key, address, headers: m.headers, data: m.data, header: request.headers['idempotency-key'] });
    await onAccept(address);
    if (kind === 'slow') return; // took it and does not say so
    if (kind === 'long') await sleep(800);
    response.end(JSON.stringify({ id: `ref-${m.key}` }));
}).listen(0, '127.0.0.1');
await once(provider, 'listening');
const got = address => accepted.filter(a => a.address === address).length;

// ---- people and senders ---------------------------------------------------
async function people(...names) {
    for (const p of names) {
        await db.query(`SELECT journey.track('shop', 'consent_granted', jsonb_build_object('email', $1::text), '{"channel": "email", "purpose": "marketing"}')`, [p]);
        await db.query(`SELECT journey.track('shop', 'cart_viewed', jsonb_build_object('email', $1::text), jsonb_build_object('cart_id', $1::text))`, [p]);
    }
    await db.query('SELECT journey.run_until_idle()');
}
const order = p => db.query(`SELECT journey.track('shop', 'order_placed', jsonb_build_object('email', $1::text), jsonb_build_object('order_id', 'o-' || $1))`, [p]);
// what became of somebody's action: "status reason", live or final
const state = p => value(`SELECT concat_ws(' ', status, nullif(reason, '')) FROM (SELECT status, reason, payload FROM journey.outbox
    UNION ALL SELECT status, reason, payload FROM journey.outbox_history) x WHERE payload ->> 'cart' = $1`, p);

function sender(more = {}) {
    const child = spawn(process.execPath, ['sender.mjs'], {
        cwd: process.env.SENDER_HOME, stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, PGDATABASE: process.env.SENDER_DB, PGUSER: 'mailer', PGPASSWORD: 'mailer', SENDER: 'node-test',
               PROVIDER_URL: `http://127.0.0.1:${provider.address().port}/`, TIMEOUT_MS: '3000', POLL_MS: '500', ...more },
    });
    child.output = '';
    child.stdout.on('data', d => { child.output += d; });
    child.stderr.on('data', d => { child.output += d; });
    child.ended = once(child, 'exit');
    child.end = async () => { child.kill('SIGTERM'); return (await child.ended)[0]; };
    return child;
}

// ---- it sends ----------------------------------------------------------------
await people('ann@x.org', 'bob@x.org');
let s = sender({ POLL_MS: '60000' });
await until('both are sent', async () => await state('ann@x.org') === 'sent' && await state('bob@x.org') === 'sent');
is([await state('ann@x.org'), await state('bob@x.org')], ['sent', 'sent'], 'what is due is sent');
const ann = accepted.find(a => a.address === 'ann@x.org');
is(ann?.data, { cart: 'ann@x.org' }, 'with the variables of its template');
is(ann?.header, ann?.key, 'under its idempotency key');
is(ann?.headers?.['List-Unsubscribe-Post'], 'List-Unsubscribe=One-Click', 'with the one-click unsubscribe of RFC 8058');
is(await value(`SELECT provider_ref FROM journey.outbox_history WHERE payload ->> 'cart' = 'ann@x.org'`), `ref-${ann?.key}`, 'the reference of the provider is kept');
await people('cid@x.org');
await until('cid is sent', async () => await state('cid@x.org') === 'sent');
is(await state('cid@x.org'), 'sent', 'an idle sender is woken by a notification, long before its poll');
is(await s.end(), 0, 'SIGTERM ends an idle sender');

// ---- an order between claim and permit -------------------------------------
onAccept = async address => { if (/^pair/.test(address)) await order(address === 'pair1@x.org' ? 'pair2@x.org' : 'pair1@x.org'); };
await people('pair1@x.org', 'pair2@x.org');
s = sender({ PARALLEL: '1' });
await until('both are final', async () => await value(`SELECT count(*) FROM journey.outbox_history WHERE payload ->> 'cart' LIKE 'pair%'`) === '2');
is([await state('pair1@x.org'), await state('pair2@x.org')].sort(), ['refused ordered', 'sent'], 'who orders after the claim is refused by the permit');
is(got('pair1@x.org') + got('pair2@x.org'), 1, 'and never reaches the provider');

// ---- failures ----------------------------------------------------------------
await people('gone@x.org', 'busy@x.org');
await until('both are final', async () => await state('gone@x.org') === 'refused bad_address' && await state('busy@x.org') === 'sent');
is(await state('gone@x.org'), 'refused bad_address', 'an address that the provider does not know is refused');
await value('SELECT count(*) FROM journey.run_once()');
is(await value(`SELECT state FROM journey.contact_point WHERE address = 'gone@x.org'`), 'hard', 'and not used again');
is([await state('busy@x.org'), asked['busy@x.org']], ['sent', 2], 'a provider that is busy is asked again when it said');
await s.end();

// ---- nobody knows --------------------------------------------------------------
await people('slow@x.org');
s = sender({ TIMEOUT_MS: '300' });
await until('the time-out is noted', async () => await state('slow@x.org') === 'unknown unknown');
is(await state('slow@x.org'), 'unknown unknown', 'a time-out makes the outcome unknown');
await sleep(1500);
is(got('slow@x.org'), 1, 'which is not sent again');
is(await value(`SELECT journey.resolve(action_id, 'sent', 'asked them') FROM journey.outbox WHERE payload ->> 'cart' = 'slow@x.org'`), true, 'somebody who found out resolves it');
await s.end();

// ---- the connection is lost while the provider works -------------------------
await people('long1@x.org');
s = sender();
await until('the provider has it', () => got('long1@x.org') === 1);
await db.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'node-test'`);
await until('it is acknowledged', async () => await state('long1@x.org') === 'sent');
is(await state('long1@x.org'), 'sent', 'after a lost connection the sender connects again and says what it sent');
is(/terminating connection/.test(s.output), true, 'and what happened');
await s.end();

// ---- a batch that takes longer than its lease ----------------------------------
await people(...[11, 12, 13, 14].map(i => `long${i}@x.org`));
s = sender({ LEASE: '2', PARALLEL: '1' });
await until('all are sent', async () => await value(`SELECT count(*) FROM journey.outbox_history WHERE payload ->> 'cart' LIKE 'long1_@%'`) === '4');
is(await value(`SELECT string_agg(DISTINCT concat(status, attempt), ',') FROM journey.outbox_history WHERE payload ->> 'cart' LIKE 'long1_@%'`), 'sent1', 'a long batch keeps its lease');
await s.end();

// ---- SIGTERM in the middle of a batch ------------------------------------------
const four = [21, 22, 23, 24].map(i => `long${i}@x.org`);
const count = () => four.map(got).reduce((a, b) => a + b);
await people(...four);
s = sender({ PARALLEL: '1' });
await until('one is with the provider', () => count() === 1);
is(await s.end(), 0, 'SIGTERM ends a busy sender');
is(count(), 1, 'after the message under way');
is(await value(`SELECT count(*) FROM journey.outbox WHERE payload ->> 'cart' = ANY ($1) AND status = 'pending' AND token IS NULL`, four), '3', 'the rest is given back');
s = sender();
const sent = () => value(`SELECT count(*) FROM journey.outbox_history WHERE payload ->> 'cart' = ANY ($1) AND status = 'sent'`, four);
await until('all are sent', async () => await sent() === '4');
is(await sent(), '4', 'and sent by the next');
await s.end();

// ---- at last ---------------------------------------------------------------------
is(accepted.length, new Set(accepted.map(a => a.key)).size, 'the provider has taken every key once');
is(await value('SELECT count(*) FROM journey.outbox_history WHERE status = $1', 'sent'), String(accepted.length), 'and everything that it took is in the history as sent');
await db.query('SELECT journey.run_until_idle()');
is(await value('SELECT string_agg(c::text, chr(10)) FROM journey.check_invariants() c'), null, 'invariants hold');
console.log(`1..${n}`);
provider.closeAllConnections();
provider.close();
await db.end();
process.exitCode = failed ? 1 : 0;
