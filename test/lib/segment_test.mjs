// Segment's library for Node against examples/segment-bridge. Run by
// test/suites/segment-bridge, which says where things are: BRIDGE_HOME, the
// folder of the bridge, and BRIDGE_DB, a database with journey. Prints TAP.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { Analytics } from '@segment/analytics-node';

const db = new pg.Client({ database: process.env.BRIDGE_DB });
await db.connect();
const value = async (sql, ...args) => Object.values((await db.query(sql, args)).rows[0] ?? { x: null })[0];
let n = 0, failed = 0;
function is(got, want, what) {
    const good = JSON.stringify(got) === JSON.stringify(want);
    console.log(`${good ? 'ok' : 'not ok'} ${++n} - ${what}`);
    if (!good) { failed++; console.log(`#      got: ${JSON.stringify(got)}\n# expected: ${JSON.stringify(want)}`); }
}

const bridge = spawn('node', ['bridge.mjs'], {
    cwd: process.env.BRIDGE_HOME, stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PGDATABASE: process.env.BRIDGE_DB, PGUSER: 'bridge', PGPASSWORD: 'bridge', WRITE_KEY: 'secret', PORT: '0' },
});
const [line] = await once(bridge.stdout, 'data');
const host = `http://127.0.0.1:${/\d+/.exec(line)[0]}`;
process.on('exit', () => bridge.kill());

// ---- what the library sends -------------------------------------------------
const failures = [];
const send = async (writeKey, calls, more = {}) => {
    const analytics = new Analytics({ writeKey, host, flushAt: 50, maxRetries: 0, ...more });
    analytics.on('error', e => { if (failures.length < 3) failures.push(`${e.code} ${e.reason?.message ?? e.reason}`); });
    calls(analytics);
    await analytics.closeAndFlush({ timeout: 20000 });
};
const at = new Date('2026-03-10T09:00:00Z');
await send('secret', a => {
    a.page({ anonymousId: 'b1', name: 'Home', properties: { url: '/' }, timestamp: at });
    a.track({ anonymousId: 'b1', event: 'Product Viewed', properties: { product_id: 'P1', price: 9.5 }, timestamp: at });
    a.track({ anonymousId: 'b1', event: 'Product Added', properties: { cart_id: 'C1', product_id: 'P1', quantity: 2, price: 9.5 }, timestamp: at });
    a.identify({ userId: 'u1', anonymousId: 'b1', traits: { email: 'U1@example.com', name: 'Ulla' }, timestamp: at });
    a.group({ userId: 'u1', groupId: 'acme', traits: { email: 'office@acme.example' }, timestamp: at });
    a.group({ userId: 'u2', groupId: 'acme', traits: { email: 'office@acme.example' }, timestamp: at });
    a.screen({ userId: 'u1', name: 'Orders', timestamp: at });
    a.track({ userId: 'u1', event: 'Order Completed', properties: { order_id: 'O1', total: 19, currency: 'EUR', cart_id: 'C1', products: [{ product_id: 'P1', quantity: 2, price: 9.5 }] }, timestamp: at });
    a.alias({ userId: 'u9', previousId: 'b9', timestamp: at });
    a.track({ userId: 'u1', event: 'Hat Tried On', properties: { colour: 'red' }, timestamp: at });
});
is(failures, [], 'the library is content');
is(await value(`SELECT count(*)::int FROM journey._fences() WHERE type = 'order_placed'`), 1, 'an order is a fence before anybody has read it');
await db.query('SELECT journey.run_until_idle()');
is(await value(`SELECT array_agg(type ORDER BY type) FROM journey.event WHERE source = 'segment'`),
    ['Hat Tried On', 'alias', 'cart_item_added', 'group_joined', 'group_joined', 'identified', 'order_line_placed', 'order_placed', 'page_viewed', 'product_viewed', 'screen_viewed'], 'each call is its event');
is(await value(`SELECT count(*)::int FROM journey.quarantine`), 0, 'none is set aside');
is(await value(`SELECT min(occurred_at) = max(occurred_at) AND max(occurred_at) = '2026-03-10 09:00+00' FROM journey.event WHERE source = 'segment'`), true, 'of its own time');
is(await value(`SELECT journey.profile_id('{"anonymous_id": "b1"}') = journey.profile_id('{"customer_id": "u1"}')
    AND journey.profile_id('{"email": "u1@example.com"}') = journey.profile_id('{"customer_id": "u1"}')`), true, 'identify joins the keys');
is(await value(`SELECT journey.profile_id('{"anonymous_id": "b9"}') = journey.profile_id('{"customer_id": "u9"}')`), true, 'so does alias');
is(await value(`SELECT journey.profile_id('{"customer_id": "u1"}') = journey.profile_id('{"customer_id": "u2"}')`), false, 'a group does not');
is(await value(`SELECT array[o.status, o.amount::text, c.status] FROM journey.orders o JOIN journey.cart c USING (cart_id)`), ['placed', '19', 'ordered'], 'the order and its cart are state');
is(await value(`SELECT seen::int FROM journey.unknown_events WHERE type = 'Hat Tried On'`), 1, 'a name of their own is listed');

// ---- many, twice, and what the bridge refuses -----------------------------------
await send('secret', a => { for (let i = 0; i < 500; i++) a.track({ anonymousId: `m${i % 50}`, event: 'Product Viewed', properties: { product_id: `P${i}` }, messageId: `m-${i}` }); });
await send('secret', a => { for (let i = 0; i < 100; i++) a.track({ anonymousId: `m${i % 50}`, event: 'Product Viewed', properties: { product_id: `P${i}` }, messageId: `m-${i}` }); });
await db.query('SELECT journey.run_until_idle()');
is(await value(`SELECT count(*)::int FROM journey.event WHERE message_id LIKE 'm-%'`), 500, 'batches that are sent twice count once');
is(failures, [], 'and the library is content still');
await send('wrong', a => a.track({ userId: 'x', event: 'Product Viewed' }));
is(failures.length > 0, true, 'a wrong key is refused');
await db.query('SELECT journey.run_until_idle()');
is(await value(`SELECT journey.profile_id('{"customer_id": "x"}')`), null, 'and nothing is taken');
const post = async (body, headers = {}) => {
    const response = await fetch(`${host}/v1/batch`, { method: 'POST', body, headers: { authorization: `Basic ${btoa('secret:')}`, ...headers } });
    return [response.status, await response.text()];
};
is((await post('{"batch": [')).at(0), 400, 'what is no JSON is refused');
is(await post('{"batch": [{"type": "track", "userId": "y"}, {"type": "track", "userId": "y", "event": "Product Viewed"}]}'), [200, '{"accepted":1,"quarantined":1}'], 'a bad message does not fail its neighbours');
is(await value('SELECT count(*)::int FROM journey.check_invariants()'), 0, 'invariants hold');
console.log(`1..${n}`);
await db.end();
process.exit(failed ? 1 : 0);
