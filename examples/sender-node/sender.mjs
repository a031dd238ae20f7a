#!/usr/bin/env node
// A sender for journey. Connects as PGUSER and so on say, a role granted journey_sender.
//
//   CHANNEL=email PROVIDER_URL=http://mailer/send node sender.mjs
//
// It claims a batch, asks for the permits of a few actions just before it sends
// them, and says what became of each. SIGTERM ends it: what is being sent is
// finished, the rest is given back. No order of kills sends a message twice
// through a provider that honours the idempotency key.
import pg from 'pg';

const env = process.env;
const channel = env.CHANNEL ?? 'email';
const batch = Number(env.BATCH ?? 100); // actions per claim
const parallel = Number(env.PARALLEL ?? 10); // permits asked, and messages sent, at a time
const lease = Number(env.LEASE ?? 60); // seconds; longer than a few time-outs
const timeout = Number(env.TIMEOUT_MS ?? 10000); // then the outcome of a message is unknown
const poll = Number(env.POLL_MS ?? 5000); // when no notification comes
const name = env.SENDER ?? `node-${process.pid}`;
const provider = await import(env.PROVIDER ?? './provider-http.mjs');

// Both outlive a lost connection: what became of messages, and what was claimed but not sent.
const outcomes = [];
let held = [];
let stopping = false, woken = false, wake = () => {};
const poke = () => { woken = true; wake(); };
process.on('SIGTERM', () => { stopping = true; poke(); });
process.on('SIGINT', () => { stopping = true; poke(); });
const pause = ms => new Promise(done => { const t = setTimeout(done, ms); wake = () => { clearTimeout(t); done(); }; });
const ids = rows => rows.map(r => r.action_id);
const tokens = rows => rows.map(r => r.token);

// A message to the provider; its outcome is one of three.
async function send(action, permit) {
    const message = {
        key: action.idempotency_key, contact: permit.contact, headers: permit.headers,
        template: action.template, version: action.template_version, locale: action.locale, data: action.payload,
        purpose: action.purpose, scope: action.scope, test: action.test,
    };
    try {
        const signal = AbortSignal.timeout(timeout);
        outcomes.push({ ...action, sent: await provider.send(message, signal) ?? null });
    } catch (error) {
        if (error instanceof provider.NotSent) outcomes.push({ ...action, failed: error });
        else outcomes.push({ ...action, unknown: error.message });
    }
}

// Tells what became of messages. An answer of false means that the lease was lost: somebody else tells.
async function report(db) {
    const sent = outcomes.filter(o => 'sent' in o), unknown = outcomes.filter(o => 'unknown' in o);
    const failed = outcomes.filter(o => 'failed' in o);
    if (sent.length) await db.query('SELECT journey.ack($1::uuid[], $2::bigint[], $3::text[])', [ids(sent), tokens(sent), sent.map(o => o.sent)]);
    if (unknown.length) await db.query('SELECT journey.unknown($1::uuid[], $2::bigint[], $3)', [ids(unknown), tokens(unknown), unknown[0].unknown]);
    for (const o of failed)
        await db.query('SELECT journey.fail($1::uuid, $2::bigint, $3, code => $4, retry_after => make_interval(secs => $5))',
            [o.action_id, o.token, o.failed.message, o.failed.code, o.failed.retryAfter]);
    outcomes.length = 0;
}

// Gives back what was claimed and not sent; others may take it at once.
async function release(db) {
    if (held.length) await db.query('SELECT journey.release($1::uuid[], $2::bigint[])', [ids(held), tokens(held)]);
    held = [];
}

async function deliver(db) {
    let leased = Date.now();
    while (held.length && !stopping) {
        if (Date.now() - leased > lease * 500) { // half of it is over: ask for more, keep what is still ours
            const { rows: [{ ours }] } = await db.query('SELECT journey.extend($1::uuid[], $2::bigint[], make_interval(secs => $3)) AS ours',
                [ids(held), tokens(held), lease]);
            held = held.filter((_, i) => ours[i]);
            leased = Date.now();
        }
        const few = held.slice(0, parallel);
        const { rows } = await db.query('SELECT * FROM journey.begin_send($1::uuid[], $2::bigint[])', [ids(few), tokens(few)]);
        held = held.slice(few.length); // refused is dealt with: final, or planned again by journey
        await Promise.all(rows.flatMap((permit, i) => permit.granted ? [send(few[i], permit)] : []));
        await report(db);
        for (const p of rows) if (!p.granted) console.log(`refused ${p.action_id} ${p.reason}`);
    }
}

// Sleeps until a notification, the next due action, or the poll.
async function idle(db) {
    const { rows: [{ ms }] } = await db.query('SELECT 1000 * extract(epoch FROM journey.next_due($1) - journey.clock())::float AS ms', [channel]);
    if (!woken) await pause(Math.min(Math.max(ms ?? poll, 250), poll));
}

async function work(db) {
    await report(db);
    await release(db);
    await db.query(`LISTEN ${pg.escapeIdentifier(`journey_outbox_${channel}`)}`);
    while (!stopping) {
        woken = false;
        held = (await db.query('SELECT * FROM journey.claim($1, $2, make_interval(secs => $3), $4)', [channel, batch, lease, name])).rows;
        if (held.length) await deliver(db);
        else await idle(db);
    }
}

for (let wait = 250; ; wait = Math.min(wait * 2, 30000)) {
    const db = new pg.Client({ application_name: name, keepAlive: true });
    db.on('error', error => { console.error(error.message); poke(); }); // the next query fails, and we connect again
    db.on('notification', poke);
    try {
        await db.connect();
        wait = 250;
        await work(db);
        await release(db);
        await db.end();
        break;
    } catch (error) {
        console.error(`${new Date().toISOString()} ${error.message}`);
        db.end().catch(() => {});
        if (stopping && wait > 2000) process.exit(1); // the leases end by themselves
        await pause(wait);
    }
}
