// A subsidiary without Python: fetches signed orders over HTTP, has them served on a store, brings signed receipts.
// Node 20 or later, no packages. What a store of yours must do stands in office.mjs; nothing here needs a change.
//
// An order is JWE(JWS): sealed to us, signed by the controller. A receipt goes back the same way. Whatever is not an
// order of the controller's to us, in time, has no effect and no answer.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const ORDER_LIFETIME_S = 7 * 86400;
const LEEWAY_S = 300; // how far the controller's clock may run ahead of ours
const CALL_S = 120;
const MAX_ENTRIES = 500;
const MAX_COPY = 64 * 1024 * 1024;
const INLINE = 1024 * 1024; // a larger access copy travels in parts
const PART = 768 * 1024;

export class NotAnOrder extends Error {}
export class StoreRefuses extends Error {} // message: the reason, lower-case words joined by hyphens
const sha256 = (text) => crypto.createHash('sha256').update(text).digest('hex');
const unb64 = (text) => Buffer.from(text, 'base64url');
const b64 = (bytes) => Buffer.from(bytes).toString('base64url');

// ---------------------------------------------------------------------- keys

export class Trust {
  constructor(folder, code) {
    this.folder = folder;
    const own = JSON.parse(fs.readFileSync(path.join(folder, 'party.private.json')));
    if (own.party !== code) throw new Error(`party.private.json is of ${own.party}, not of ${code}`);
    this.code = code;
    this.kid = own.signing.kid;
    this.signing = crypto.createPrivateKey({ format: 'jwk', key: own.signing });
    this.opening = crypto.createPrivateKey({ format: 'jwk', key: own.opening });
    this.journalKey = Buffer.from(fs.readFileSync(path.join(folder, 'journal.key'), 'ascii').trim(), 'base64');
  }

  // Read anew for every order: the operator replaces the file when the controller's key is rotated.
  get controller() {
    return JSON.parse(fs.readFileSync(path.join(this.folder, 'controller.public.json')));
  }
}

const publicKey = (jwk) => crypto.createPublicKey({ format: 'jwk', key: jwk });
// ---------------------------------------------------------------------- JWS and JWE: one algorithm each, no choice

export function sign(trust, kind, claims) {
  const header = b64(JSON.stringify({ alg: 'Ed25519', kid: trust.kid, typ: kind }));
  const payload = b64(JSON.stringify(claims));
  return `${header}.${payload}.${b64(crypto.sign(null, Buffer.from(`${header}.${payload}`), trust.signing))}`;
}

export function callToken(trust, now = Date.now()) {
  const iat = Math.floor(now / 1000);
  const claims = { iss: trust.code, aud: 'counter', iat, exp: iat + CALL_S, jti: crypto.randomUUID() };
  return sign(trust, 'greffier-call+jwt', claims);
}

// RFC 7518 § 4.6.2, one round: what wraps the content's key.
function wrappingKey(shared) {
  const length = (n) => Buffer.from([0, 0, n >> 8, n & 255]);
  const algorithm = Buffer.from('ECDH-ES+A256KW');
  const about = [length(algorithm.length), algorithm, length(0), length(0), length(256)];
  return crypto.createHash('sha256').update(Buffer.concat([length(1), shared, ...about])).digest();
}

const WRAP_IV = Buffer.from('a6a6a6a6a6a6a6a6', 'hex');

function unseal(token, trust) {
  const parts = token.split('.');
  if (parts.length !== 5) throw new NotAnOrder('bad_seal');
  try {
    const header = JSON.parse(unb64(parts[0]));
    if (header.alg !== 'ECDH-ES+A256KW' || header.enc !== 'A256GCM') throw new NotAnOrder('bad_seal');
    const shared = crypto.diffieHellman({ privateKey: trust.opening, publicKey: publicKey(header.epk) });
    const unwrap = crypto.createDecipheriv('id-aes256-wrap', wrappingKey(shared), WRAP_IV);
    const key = Buffer.concat([unwrap.update(unb64(parts[1])), unwrap.final()]);
    const opening = crypto.createDecipheriv('aes-256-gcm', key, unb64(parts[2]), { authTagLength: 16 });
    opening.setAAD(Buffer.from(parts[0], 'ascii'));
    opening.setAuthTag(unb64(parts[4]));
    return Buffer.concat([opening.update(unb64(parts[3])), opening.final()]).toString('utf8');
  } catch {
    throw new NotAnOrder('bad_seal');
  }
}

export function seal(text, trust) {
  const to = trust.controller.sealing;
  const once = crypto.generateKeyPairSync('x25519');
  const epk = once.publicKey.export({ format: 'jwk' });
  const protectedHeader = b64(JSON.stringify({ alg: 'ECDH-ES+A256KW', enc: 'A256GCM', kid: to.kid, epk }));
  const key = crypto.randomBytes(32);
  const iv = crypto.randomBytes(12);
  const shared = crypto.diffieHellman({ privateKey: once.privateKey, publicKey: publicKey(to) });
  const wrap = crypto.createCipheriv('id-aes256-wrap', wrappingKey(shared), WRAP_IV);
  const wrapped = Buffer.concat([wrap.update(key), wrap.final()]);
  const sealing = crypto.createCipheriv('aes-256-gcm', key, iv, { authTagLength: 16 });
  sealing.setAAD(Buffer.from(protectedHeader, 'ascii'));
  const sealed = Buffer.concat([sealing.update(text), sealing.final()]);
  return [protectedHeader, b64(wrapped), b64(iv), b64(sealed), b64(sealing.getAuthTag())].join('.');
}

export function openOrder(token, trust, now = Date.now()) {
  const signed = unseal(token, trust).split('.');
  if (signed.length !== 3) throw new NotAnOrder('malformed_token');
  const [header, claims] = parsed(signed);
  const { party, verifying } = trust.controller;
  const key = verifying.find((one) => one.kid === header.kid);
  if (header.alg !== 'Ed25519' || Object.keys(header).sort().join() !== 'alg,kid,typ') throw new NotAnOrder('bad_signature');
  if (!key) throw new NotAnOrder('unknown_key');
  const bytes = Buffer.from(`${signed[0]}.${signed[1]}`);
  if (!crypto.verify(null, bytes, publicKey(key), unb64(signed[2]))) throw new NotAnOrder('bad_signature');
  if (header.typ !== 'greffier-order+jwt') throw new NotAnOrder('wrong_kind');
  if (claims.iss !== party) throw new NotAnOrder('wrong_issuer');
  if (claims.aud !== trust.code) throw new NotAnOrder('wrong_audience');
  if (!(now / 1000 < claims.exp)) throw new NotAnOrder('expired');
  if (!(claims.iat <= now / 1000 + LEEWAY_S)) throw new NotAnOrder('from_the_future');
  if (claims.exp - claims.iat > ORDER_LIFETIME_S) throw new NotAnOrder('lives_too_long');
  const { entries, jti } = claims;
  if (typeof jti !== 'string' || !Array.isArray(entries) || !entries.length || entries.length > MAX_ENTRIES) {
    throw new NotAnOrder('malformed_order');
  }
  return { jti, entries };
}

function parsed(signed) {
  try {
    return [JSON.parse(unb64(signed[0])), JSON.parse(unb64(signed[1]))];
  } catch {
    throw new NotAnOrder('malformed_token');
  }
}

// RFC 8785: members sorted, nothing between them. JSON.stringify already writes numbers and texts its way.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value === null || typeof value !== 'object') {
    return JSON.stringify(typeof value === 'string' ? value.toWellFormed() : value ?? null);
  }
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name.toWellFormed())}:${canonical(value[name])}`).join()}}`;
}

// ---------------------------------------------------------------------- the journal: what was done, without a name

// Beside the store, never in its backup: `begun` is on disk before the first record is touched, `done` before the
// receipt leaves. It holds keyed hashes, the same as those of the worker in Python.
export class Journal {
  constructor(file, key) {
    this.key = key;
    this.begun = new Map();
    this.done = new Map();
    fs.mkdirSync(path.dirname(file), { recursive: true });
    this.file = fs.openSync(file, 'a+', 0o600);
    let sound = 0;
    for (const line of fs.readFileSync(file, 'utf8').split(/(?<=\n)/)) {
      if (!line.endsWith('\n')) break; // torn by a crash; nothing was done after it
      this.#note(JSON.parse(line));
      sound += Buffer.byteLength(line);
    }
    fs.ftruncateSync(this.file, sound);
  }

  mark(email) {
    return crypto.createHmac('sha256', this.key).update(`greffier/journal/n1/email:${email}`).digest('hex');
  }

  // Lines about what is to be begun, or answered; on disk when it returns.
  write(lines) {
    if (!lines.length) return;
    fs.writeSync(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    fs.fsyncSync(this.file);
    for (const line of lines) this.#note(line);
  }

  #note(line) {
    if (line.line === 'done') this.done.set(line.task, line);
    else if (!this.begun.has(line.task)) this.begun.set(line.task, line);
  }
}

// ---------------------------------------------------------------------- serving

const isOurs = (entry, code) => typeof entry?.task === 'string' && /^[A-Za-z0-9-]{1,64}\/[a-z]{2,16}$/.test(entry.task)
  && entry.task.endsWith(`/${code}`) && Number.isInteger(entry.attempt) && entry.attempt >= 1
  && ['serve', 'look', 'dispose', 'plant'].includes(entry.ask);

const RIGHTS = ['access', 'erasure', 'objection'];
const folded = (emails) => [...new Set(emails.map((email) => email.toLowerCase()))];

export class Office {
  constructor(trust, store, journal, clock = Date.now) {
    Object.assign(this, { trust, store, journal, clock });
  }

  // The sealed messages that answer an order, in the order in which they must leave. Raises NotAnOrder.
  serve(token) {
    const { jti, entries } = openOrder(token, this.trust, this.clock());
    const latest = new Map();
    for (const entry of entries) {
      if (!isOurs(entry, this.trust.code)) continue; // nobody's, or another's: not even a refusal can be told
      const key = `${entry.task} ${entry.ask}`;
      if (!latest.has(key) || latest.get(key).attempt < entry.attempt) latest.set(key, entry);
    }
    const answers = this.#serveAll([...latest.values()]);
    return answers.length ? this.#messages(jti, answers) : [];
  }

  // All of an order over one reading of the store, with one wait for the disk each: what was begun is written down, then
  // the store, then what was done. Killed anywhere, the next delivery completes and counts the whole.
  #serveAll(entries) {
    const work = { held: this.store.open(), begun: [], done: [] };
    const answers = entries.map((entry) => this.#answer(entry, work));
    this.journal.write(work.begun);
    work.held.save();
    this.journal.write(work.done);
    return answers;
  }

  #answer(entry, work) {
    const refused = (reason) => ({ entry: { ...this.#head(entry), outcome: 'refused', collections: [], reason } });
    if (entry.ask === 'dispose' || entry.ask === 'plant') return refused('not-supported');
    if (!RIGHTS.includes(entry.right)) return refused('not-understood');
    if (!Array.isArray(entry.person?.emails)) return refused('not-understood');
    try {
      const person = { emails: folded(entry.person.emails), receivedAt: entry.received_at };
      if (entry.ask === 'look') return { entry: this.#entry(entry, work.held.look(entry.right, person)) };
      return entry.right === 'access' ? this.#copy(entry, person, work) : this.#change(entry, person, work);
    } catch (error) {
      if (!(error instanceof StoreRefuses)) throw error;
      return refused(error.message);
    }
  }

  // A task that was answered is not done again at the same attempt; a later attempt is the controller asking anew.
  #change(entry, person, work) {
    const done = this.journal.done.get(entry.task);
    if (done && done.attempt >= entry.attempt) return { entry: { ...done.entry, attempt: entry.attempt } };
    const planned = work.held.plan(entry.right, person);
    const begun = this.journal.begun.get(entry.task);
    const earlier = done ? done.entry.collections : begun ? lost(begun.stood, planned) : [];
    if (!begun) {
      const { task, right, received_at } = entry;
      const marks = person.emails.map((email) => this.journal.mark(email)).sort();
      work.begun.push({ line: 'begun', task, right, received_at, marks, stood: planned, at: this.#now() });
    }
    const answered = this.#entry(entry, together(earlier, work.held.act(entry.right, person)));
    work.done.push({ line: 'done', task: entry.task, attempt: entry.attempt, entry: answered });
    return { entry: answered };
  }

  #copy(entry, person, { held }) {
    const collections = held.copy(person).filter((one) => one.records.length);
    const counts = collections.map(({ name, records }) => ({ name, matched: records.length }));
    const copy = canonical({ store: this.trust.code, collections });
    if (Buffer.byteLength(copy) > MAX_COPY) throw new StoreRefuses('copy-too-large');
    const answered = this.#entry(entry, counts);
    if (!counts.length) return { entry: answered };
    return { entry: { ...answered, copy_sha256: sha256(copy) }, copy };
  }

  #entry(entry, collections) {
    const held = collections.some((one) => one.matched);
    const kept = collections.some((one) => one.retained);
    return { ...this.#head(entry), outcome: !held ? 'nothing-held' : kept ? 'partly-retained' : 'done', collections };
  }

  #head({ task, attempt, ask }) {
    return { task, attempt, ask, at: this.#now() };
  }

  #now() {
    return new Date(this.clock()).toISOString();
  }

  #messages(order, answers) {
    const large = answers.filter(({ copy }) => copy && Buffer.byteLength(copy) > INLINE);
    const messages = large.flatMap(({ entry, copy }) => parts(entry, Buffer.from(copy)));
    let batch = [];
    const send = () => { if (batch.length) messages.push(this.#receipt(order, batch)); batch = []; };
    for (const answer of answers) {
      const size = (one) => JSON.stringify(one.entry).length * 2 + (large.includes(one) ? 0 : Buffer.byteLength(one.copy ?? ''));
      if (batch.reduce((sum, one) => sum + size(one), size(answer)) > INLINE) send();
      batch.push(large.includes(answer) ? { entry: answer.entry } : answer);
    }
    send();
    return messages.map((message) => seal(message, this.trust));
  }

  #receipt(order, answers) {
    const iat = Math.floor(this.clock() / 1000);
    const claims = { iss: this.trust.code, aud: 'controller', iat, exp: iat + ORDER_LIFETIME_S, jti: crypto.randomUUID() };
    const entries = answers.map(({ entry }) => entry);
    const copies = Object.fromEntries(answers.filter(({ copy }) => copy).map(({ entry, copy }) => [entry.task, JSON.parse(copy)]));
    return JSON.stringify({ receipt: sign(this.trust, 'greffier-receipt+jwt', { ...claims, order, entries }), copies });
  }

  // After a restore of the store: whoever was served, and came back with it, is served again.
  replay() {
    let people = 0;
    const held = this.store.open();
    const told = [...this.journal.begun.values()].filter((line) => line.marks);
    for (const email of held.identifiers()) {
      const mark = this.journal.mark(email.trim().toLowerCase());
      for (const line of told.filter((one) => one.marks.includes(mark))) {
        held.act(line.right, { emails: [email.trim().toLowerCase()], receivedAt: line.received_at });
        people += 1;
      }
    }
    held.save();
    return people;
  }
}

function parts({ task, copy_sha256 }, copy) {
  const of = Math.ceil(copy.length / PART);
  return Array.from({ length: of }, (_, place) => JSON.stringify({
    part: { task, copy_sha256, place: `${place}`, of: `${of}`, bytes: copy.subarray(place * PART, (place + 1) * PART).toString('base64') },
  }));
}

// What an attempt did that was begun and never counted: what stood when it began, less what stands now.
function lost(stood, standing) {
  const now = new Map(standing.map((one) => [one.name, one]));
  return stood.map((then) => {
    const { restricted, ...kept } = then; // an objection is marked again, and counted then
    const erased = Math.max(0, (then.erased ?? 0) - (now.get(then.name)?.erased ?? 0));
    return { ...kept, erased, matched: erased + (then.retained ?? 0) };
  });
}

// One account of several attempts at one task; what was kept stands once, whoever counted it.
function together(earlier, now) {
  const before = new Map(earlier.map((one) => [one.name, one]));
  return now.map((one) => {
    const then = before.get(one.name) ?? { matched: 0 };
    const kept = (one.retained ?? 0) >= (then.retained ?? 0) ? one : then;
    const erased = (then.erased ?? 0) + (one.erased ?? 0);
    const other = (tally) => tally.matched - (tally.erased ?? 0) - (tally.retained ?? 0);
    const sum = { name: one.name, matched: erased + (kept.retained ?? 0) + Math.max(other(then), other(one)) };
    if (erased) sum.erased = erased;
    const restricted = Math.max(then.restricted ?? 0, one.restricted ?? 0);
    if (restricted) sum.restricted = restricted;
    if (kept.retained) Object.assign(sum, { retained: kept.retained, ground: kept.ground });
    if (kept.retained && kept.until) sum.until = kept.until;
    return sum;
  });
}

// ---------------------------------------------------------------------- the carrier

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function call(trust, url, method, body, signal) {
  const headers = { Authorization: `Bearer ${callToken(trust)}`, 'Content-Type': 'application/json' };
  return fetch(url, { method, headers, body: body && JSON.stringify(body), signal });
}

// One order fetched, served and answered; false when none came. What is not brought is fetched again when its lease has
// lapsed, and answered the same from the journal.
export async function once(office, counter, wait, signal) {
  const asked = await call(office.trust, `${counter}/tasks?wait=${wait}`, 'GET', undefined, signal);
  if (asked.status === 204) return false;
  if (asked.status !== 200) throw new Error(`tasks: ${asked.status}`);
  const { order } = await asked.json();
  let receipts = [];
  try {
    receipts = office.serve(order);
  } catch (error) {
    if (!(error instanceof NotAnOrder)) throw error;
    console.error(JSON.stringify({ at: new Date().toISOString(), refused: error.message, digest: sha256(order) }));
  }
  for (const receipt of receipts) await bring(office, counter, receipt);
  return true;
}

async function bring(office, counter, receipt) {
  for (;;) {
    const answer = await call(office.trust, `${counter}/receipts`, 'POST', { receipt });
    if (answer.status === 202) return;
    if (answer.status !== 429 && answer.status !== 503) throw new Error(`receipts: ${answer.status}`);
    await pause(1000 * Number(answer.headers.get('Retry-After') ?? 2));
  }
}

export async function workUntilToldToStop(office, counter) {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => stop.abort());
  while (!stop.signal.aborted) {
    try {
      await once(office, counter, 50, stop.signal);
    } catch (error) {
      if (stop.signal.aborted) break;
      console.error(JSON.stringify({ at: new Date().toISOString(), trouble: error.cause?.code ?? error.message }));
      await pause(2000);
    }
  }
}
