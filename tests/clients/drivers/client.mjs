// Asks the cases of a file with Node's own HTTP modules: client.mjs FILE VERSION, where the version is 1.1 or 2.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { isDeepStrictEqual } from 'node:util';

const [file, version] = process.argv.slice(2);
const variables = { ...process.env };
const base = new URL(variables.BASE_URL);
const connection = version === '2' ? http2.connect(base.origin) : new http.Agent({ keepAlive: true, maxSockets: 1 });

// The case with every ${NAME} replaced.
function filled(testCase) {
  return JSON.parse(JSON.stringify(testCase).replace(/\$\{(\w+)\}/g, (_, name) => {
    if (!(name in variables)) throw new Error(`no variable ${name}`);
    return variables[name];
  }));
}

function ask({ to, basic, headers = {}, body }) {
  const [method, path] = to.split(' ');
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const all = { ...headers };
  if (text !== body) all['content-type'] = 'application/json';
  return version === '2' ? ask2(method, path, basic, all, text) : ask1(method, path, basic, all, text);
}

function ask1(method, path, auth, headers, text) {
  return new Promise((resolve, reject) => {
    if (text !== undefined) headers['content-length'] = Buffer.byteLength(text);
    const options = { method, headers, auth, agent: connection, timeout: 10_000 };
    const request = http.request(variables.BASE_URL + path, options, async (response) => {
      const body = (await response.setEncoding('utf8').toArray()).join('');
      const protocol = response.httpVersion;
      resolve({ protocol, status: response.statusCode, headers: { ...response.headers, ...response.trailers }, body });
    });
    request.on('error', reject).on('timeout', () => request.destroy(new Error('no answer in 10 s'))).end(text);
  });
}

function ask2(method, path, basic, headers, text) {
  return new Promise((resolve, reject) => {
    if (basic !== undefined) headers.authorization = `Basic ${Buffer.from(basic).toString('base64')}`;
    const fields = { ':method': method, ':path': base.pathname.replace(/\/$/, '') + path, ...headers };
    const stream = connection.request(fields, { endStream: text === undefined });
    const answer = { protocol: '2', body: '' };
    stream.setEncoding('utf8').setTimeout(10_000, () => stream.destroy(new Error('no answer in 10 s')));
    stream.on('response', ({ ':status': status, ...fields }) => Object.assign(answer, { status, headers: fields }));
    stream.on('trailers', (fields) => Object.assign(answer.headers, fields));
    stream.on('data', (chunk) => { answer.body += chunk; });
    stream.on('end', () => resolve(answer)).on('error', reject);
    if (text !== undefined) stream.end(text);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// What `data.0.id` leads to, or null.
function at(document, path) {
  return path.split('.').reduce((found, step) => found?.[step], document) ?? null;
}

// What is compared: its name, what came, and what should have come.
function* comparisons({ status, headers = {}, body = {} }, response) {
  yield ['protocol', response.protocol, version];
  yield ['status', response.status, status];
  for (const [name, want] of Object.entries(headers)) yield [name, response.headers[name] ?? null, want];
  if (typeof body === 'string') {
    yield ['body', response.body, body];
  } else {
    const document = parsed(response.body);
    for (const [path, want] of Object.entries(body)) yield [path, at(document, path), want];
  }
}

const { cases } = JSON.parse(readFileSync(file, 'utf8'));
let failed = 0;
for (const template of cases) {
  const { name, request, answer, keep = {} } = filled(template);
  const response = await ask(request);
  const wrong = [...comparisons(answer, response)]
    .filter(([, got, want]) => (want === '*' ? got === null : !isDeepStrictEqual(got, want)))
    .map(([what, got, want]) => `${what} is ${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
  const received = { headers: response.headers, body: parsed(response.body) };
  for (const [variable, path] of Object.entries(keep)) variables[variable] = String(at(received, path));
  if (wrong.length > 0) {
    failed += 1;
    console.log(`FAILED ${name}: ${wrong.join('; ')}`);
  }
}
if (version === '2') connection.close();
else connection.destroy();
console.log(`${cases.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
