// What Segment's libraries send, over HTTP, into journey.ingest(). Run it with
//   PGHOST=... PGDATABASE=shop PGUSER=... WRITE_KEY=secret PORT=8080 node bridge.mjs
// as a role that is in journey_app, and point the library at it:
//   new Analytics({ writeKey: 'secret', host: 'http://localhost:8080' })
// A batch is one transaction: it is answered 200 once it is committed, and what
// cannot be read is in journey.quarantine. 5xx makes the library send it again,
// which takes effect once, by each message's messageId.
import http from 'node:http';
import { gunzipSync } from 'node:zlib';
import { timingSafeEqual, createHash } from 'node:crypto';
import pg from 'pg';

const pool = new pg.Pool({ max: 4 });
pool.on('error', error => console.error(error.message)); // an idle connection that is lost is made anew
const limit = 10 * 1024 * 1024, hash = text => createHash('sha256').update(text).digest();
if (!process.env.WRITE_KEY) throw new Error('set WRITE_KEY');
const isKey = said => timingSafeEqual(hash(said ?? ''), hash(process.env.WRITE_KEY));
// older libraries send the key as the user of basic authentication, newer ones in the body
const userOf = header => Buffer.from((header ?? '').replace(/^Basic /, ''), 'base64').toString().split(':')[0];

// POST /v1/batch {"batch": [...]}, or /v1/track and the like with one message
async function take(request) {
    if (request.method !== 'POST') return [405, 'POST only'];
    const chunks = [];
    let size = 0;
    for await (const chunk of request) if ((size += chunk.length) > limit) return [413, 'too large']; else chunks.push(chunk);
    let messages;
    try {
        const raw = Buffer.concat(chunks);
        messages = JSON.parse(request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw, { maxOutputLength: limit }) : raw);
    } catch { return [400, 'not JSON']; }
    if (!isKey(`${messages?.writeKey ?? userOf(request.headers.authorization)}`)) return [401, 'wrong write key'];
    const { rows } = await pool.query('SELECT * FROM journey.ingest($1)', [JSON.stringify(messages?.batch ?? messages)]);
    return [200, JSON.stringify(rows[0])];
}

http.createServer(async (request, response) => {
    const [status, text] = await take(request).catch(error => (console.error(error.message), [503, 'try again']));
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(text);
}).listen(Number(process.env.PORT ?? 8080), process.env.HOST ?? '127.0.0.1', function () { console.log(`listening on ${this.address().port}`); });
