// The guide's own client code, run by Node against the example server.
import assert from 'node:assert/strict';

const BASE = process.env.BASE_URL;
const API_KEY = process.env.WORKFLOWS_API_KEY;
let checks = 0;

// The retry loop as the guide publishes it.
async function fetchWithRetry(url, options, maxRetries = 3) {
  for (let i = 0; i < maxRetries; i++) {
    const response = await fetch(url, options);

    if (response.status === 429) {
      const resetTime = response.headers.get('X-RateLimit-Reset');
      const waitMs = resetTime
        ? (parseInt(resetTime) * 1000) - Date.now()
        : Math.pow(2, i) * 1000;

      await new Promise(resolve => setTimeout(resolve, waitMs));
      continue;
    }

    return response;
  }
  throw new Error('Max retries exceeded');
}

function expect(what, got, want) {
  checks += 1;
  assert.deepEqual(got, want, what);
}

const json = (key, body) => ({
  method: 'POST',
  headers: { 'x-api-key': key, 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

const created = await fetchWithRetry(
  `${BASE}/auth/api-keys`,
  json(API_KEY, { name: 'node', scopes: ['workflows:read', 'workflows:write', 'workflows:execute'] }),
);
expect('create a key', created.status, 201);
const { id, key } = (await created.json()).data;

const workflow = await fetchWithRetry(`${BASE}/workflows`, json(key, { name: 'From Node' }));
expect('create a workflow', workflow.status, 201);
const run = await fetchWithRetry(`${BASE}/workflows/${(await workflow.json()).data.id}/run`, json(key, {}));
expect('run it', run.status, 201);

const headers = { 'x-api-key': key };
let denied = 0;
for (let i = 0; i < 100; i++) {
  const once = await fetch(`${BASE}/workflows`, { headers });
  if (once.status === 429) {
    denied += 1;
    expect('429 in the published words', await once.json(), {
      success: false,
      error: { code: 'RATE_LIMITED', message: 'Rate limit exceeded. Limit: 40 requests per 3 seconds.' },
    });
    const response = await fetchWithRetry(`${BASE}/workflows`, { headers });
    expect('the loop gets through by itself', response.status, 200);
  } else {
    expect('within the limit', once.status, 200);
  }
}
assert.ok(denied > 0, '100 reads at 40 in 3 seconds run into the limit');

expect('no scope', (await fetchWithRetry(`${BASE}/runs`, { headers })).status, 403);
expect('no key', (await fetch(`${BASE}/workflows`)).status, 401);
const revoked = await fetchWithRetry(`${BASE}/auth/api-keys/${id}`, { method: 'DELETE', headers: { 'x-api-key': API_KEY } });
expect('revoke', revoked.status, 200);
expect('refused at once', (await fetch(`${BASE}/workflows`, { headers })).status, 401);

console.log(`${checks} passed, 0 failed`);
