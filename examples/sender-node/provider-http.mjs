// A provider that takes JSON over HTTP. Yours is a module of the same shape:
//
//   send(message, signal) resolves to the provider's reference: it was sent;
//   throws NotSent: it was certainly not sent, with a code of journey.fail();
//   throws anything else, or does not answer in time: nobody knows.
//
// Be strict about NotSent: a broken connection after the request was written is
// not one, because the provider may have taken the message.
export class NotSent extends Error {
    constructor(message, code = 'other', retryAfter = null) {
        super(message);
        Object.assign(this, { code, retryAfter });
    }
}

// Errors that come before a byte of the message has left.
const neverReached = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'];
const codes = { 400: 'content_rejected', 404: 'bad_address', 410: 'bad_address', 422: 'bad_address', 429: 'rate_limited', 503: 'provider_down' };

export async function send(message, signal) {
    // Rows made under the test clock must not reach people.
    const url = message.test ? process.env.PROVIDER_TEST_URL : process.env.PROVIDER_URL;
    if (!url) throw new NotSent(`no provider for ${message.test ? 'test' : 'real'} messages`);
    const response = await fetch(url, {
        method: 'POST', signal, body: JSON.stringify(message),
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': message.key },
    }).catch(error => {
        if (neverReached.includes(error.cause?.code)) throw new NotSent(error.cause.code, 'provider_down');
        throw error;
    });
    const answer = await response.text();
    if (response.ok) return JSON.parse(answer).id;
    const code = codes[response.status];
    if (code || response.status < 500) throw new NotSent(`${response.status} ${answer}`, code, Number(response.headers.get('Retry-After')) || null);
    throw new Error(`${response.status} ${answer}`);
}
