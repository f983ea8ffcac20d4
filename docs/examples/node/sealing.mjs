// Keys, signatures and seals: one algorithm each, no choice. What greffier.mjs signs, seals, opens and believes by.
//
// An order is JWE(JWS): sealed to us, signed by the controller. A receipt goes back the same way.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

import { Trouble, readJson } from './disk.mjs';

export const MAX_TOKEN = 4 * 1024 * 1024;
export const ORDER_LIFETIME_S = 7 * 86400;
const LEEWAY_S = 300; // how far the controller's clock may run ahead of ours
const CALL_S = 120;
const MAX_ENTRIES = 500;

export class NotAnOrder extends Error {}
export const sha256 = (text) => crypto.createHash('sha256').update(text).digest('hex');
const unb64 = (text) => Buffer.from(text, 'base64url');
const b64 = (bytes) => Buffer.from(bytes).toString('base64url');

// ---------------------------------------------------------------------- keys

export class Trust {
  constructor(folder, code) {
    this.folder = folder;
    const own = readJson(path.join(folder, 'party.private.json'));
    if (own.party !== code) throw new Trouble(`party.private.json is of ${own.party}, not of ${code}`);
    this.code = code;
    this.kid = own.signing.kid;
    this.signing = crypto.createPrivateKey({ format: 'jwk', key: own.signing });
    this.opening = crypto.createPrivateKey({ format: 'jwk', key: own.opening });
    this.journalKey = Buffer.from(fs.readFileSync(path.join(folder, 'journal.key'), 'ascii').trim(), 'base64');
  }

  // Read anew for every order: the operator replaces the file when the controller's key is rotated.
  get controller() {
    return readJson(path.join(this.folder, 'controller.public.json'));
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
  if (token.length > MAX_TOKEN) throw new NotAnOrder('too_large');
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
  if (![claims.iat, claims.exp].every(Number.isSafeInteger)) throw new NotAnOrder('malformed_token');
  if (claims.exp - claims.iat > ORDER_LIFETIME_S) throw new NotAnOrder('lives_too_long');
  const { entries, jti } = claims;
  if (typeof jti !== 'string' || !Array.isArray(entries) || !entries.length || entries.length > MAX_ENTRIES) {
    throw new NotAnOrder('malformed_order');
  }
  return { jti, entries };
}

function parsed(signed) {
  const found = [];
  try {
    found.push(JSON.parse(unb64(signed[0])), JSON.parse(unb64(signed[1])));
  } catch { /* nor is what is no JSON */ }
  if (found.length !== 2 || !found.every((one) => one?.constructor === Object)) throw new NotAnOrder('malformed_token');
  return found;
}

// RFC 8785: members sorted, nothing between them. JSON.stringify already writes numbers and texts its way.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (value === null || typeof value !== 'object') {
    return JSON.stringify(typeof value === 'string' ? value.toWellFormed() : value ?? null);
  }
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name.toWellFormed())}:${canonical(value[name])}`).join()}}`;
}
