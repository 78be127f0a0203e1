// PayMongo's own library for Node, pointed at the example server.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const Paymongo = createRequire(import.meta.url)('paymongo-node');
const { BASE_URL, TEST_SECRET_KEY, LIVE_SECRET_KEY, ORGANIZATION_ID, OTHER_ORGANIZATION_ID, TEST_WORKFLOW_ID } = process.env;
let checks = 0;

// A client of the library. It has no option for its base URL nor for a header, so both go into what it hands to axios.
function client(key, organization) {
  const paymongo = new Paymongo(key);
  const { defaults } = paymongo.customers.httpClient._instance;
  defaults.baseURL = BASE_URL;
  if (organization !== undefined) defaults.headers['Organization-Id'] = organization;
  return paymongo;
}

function expect(what, got, want) {
  checks += 1;
  assert.deepEqual(got, want, what);
}

// What it throws: the library's own class, and the code and the text it read in `errors`.
async function expectError(what, call, type, code) {
  const error = await call.then(() => null, (thrown) => thrown);
  expect(what, [error?.type, error?.errors?.map((each) => each.code)], [type, [code]]);
  expect(`${what}: with a detail`, typeof error.errors[0].detail, 'string');
}

const paymongo = client(TEST_SECRET_KEY, ORGANIZATION_ID);
const { httpClient } = paymongo.customers;
const listed = await httpClient.request({ url: '/workflows', method: 'GET' });
expect('list', listed.data.map(({ id }) => id), [TEST_WORKFLOW_ID]);
const run = await httpClient.request({ url: `/workflows/${TEST_WORKFLOW_ID}/execute`, method: 'post', params: { amount: 100 } });
expect('execute', run.data.input, { data: { attributes: { amount: 100 } } });

const unknown = 'sk_test_00000000000000000000000000000000';
await expectError('unknown key', client(unknown, ORGANIZATION_ID).customers.retrieve('cus_1'), 'AuthenticationError', 'authentication_failed');
await expectError('no key', client('', ORGANIZATION_ID).customers.retrieve('cus_1'), 'AuthenticationError', 'authentication_failed');
await expectError('no organization', client(TEST_SECRET_KEY).customers.retrieve('cus_1'), 'InvalidRequestError', 'missing_organization_header');
await expectError('not found', paymongo.customers.retrieve('cus_1'), 'ResourceNotFoundError', 'not_found');
await expectError('not in this mode', client(LIVE_SECRET_KEY, ORGANIZATION_ID).customers.httpClient.request({ url: `/workflows/${TEST_WORKFLOW_ID}`, method: 'GET' }), 'ResourceNotFoundError', 'not_found');
await expectError('no name', httpClient.request({ url: '/workflows', method: 'post', params: {} }), 'InvalidRequestError', 'validation_error');
// The library has no error for 403: it hands out nothing.
const mismatch = client(TEST_SECRET_KEY, OTHER_ORGANIZATION_ID).customers.httpClient;
expect('another organization', await mismatch.request({ url: '/workflows', method: 'GET' }), undefined);

console.log(`${checks} passed, 0 failed`);
