// pasby's own library for Node, pointed at the example server.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { Pasby } = createRequire(import.meta.url)('@finsel-dgi/pasby');
const { BASE_URL, PASBY_API_KEY, PASBY_APP_SECRET, PASBY_LIVE_APP_SECRET, APP_ID, CONSUMER_ID } = process.env;
let checks = 0;

function client(apikeyAuth, appSecretKey, version, headers = {}) {
  return new Pasby({ apikeyAuth, appSecretKey, version, basePath: BASE_URL, baseOptions: { headers } });
}

function expect(what, got, want) {
  checks += 1;
  assert.deepEqual(got, want, what);
}

// What it throws: the status, and the answer as it read it.
async function expectError(what, call, status, said) {
  const error = await call.then(() => null, (thrown) => thrown);
  const { name, responseBody: body } = error ?? {};
  expect(what, [name, error?.status, body?.type ?? body], ['PasbyError', status, said]);
}

const pasby = client(PASBY_API_KEY, PASBY_APP_SECRET);
const request = { request: 'req_1' };
expect('health', (await pasby.health.healthCheck()).status, 200);
expect('ping', (await pasby.flows.ping(request)).data.data.app, APP_ID);
expect('cancel', (await pasby.flows.cancel(request)).data.data.app, APP_ID);
expect('sign', (await pasby.signing.sameDevice({ action: 'sign' })).data.data.app, APP_ID);
const identified = await pasby.identification.differentDevice({ action: 'login' });
expect('a token by the way', typeof identified.headers['x-access-token'], 'string');

const v1 = client(PASBY_API_KEY, PASBY_APP_SECRET, 'v1');
const authorized = await v1.flows.authorize({ sub: CONSUMER_ID, app: APP_ID });
const token = authorized.headers['x-access-token'];
const withToken = client(PASBY_API_KEY, undefined, 'v1', { 'x-access-token': token });
expect('ping with the token', (await withToken.flows.ping(request)).data.data.app, APP_ID);

const noKey = 'An api key is needed to access our services.';
const noSecret = 'App secret missing in headers.';
await expectError('no key', client(undefined, PASBY_APP_SECRET).flows.ping(request), 401, noKey);
await expectError('no secret', client(PASBY_API_KEY).flows.ping(request), 400, noSecret);
await expectError('an empty secret', client(PASBY_API_KEY, '').flows.ping(request), 400, noSecret);
const mixed = client(PASBY_API_KEY, PASBY_LIVE_APP_SECRET);
await expectError('the secret of a live app', mixed.flows.ping(request), 401, 'authorization_error');

console.log(`${checks} passed, 0 failed`);
