// Files: had by one process at a time, on disk when it is said that they are, and never quoted in what is printed.

import fs from 'node:fs';
import path from 'node:path';

export class Trouble extends Error {} // message: words of ours; that of any other error may quote what somebody's data is

// ---------------------------------------------------------------------- one process at a time

// Each process that wants a file leaves a claim beside it, FILE.lock.PID, and has it where no other claim is of one that
// lives: of two that come at once both may be refused, never none. What was killed leaves its claim to the next. Numbers
// of processes come again, so a claim says since when its process runs, where the system tells (Linux).
export function lock(file) {
  const folder = path.dirname(path.resolve(file));
  const claim = (pid) => path.join(folder, `${path.basename(file)}.lock.${pid}`);
  fs.writeFileSync(claim(process.pid), startOf(process.pid) ?? '', { mode: 0o600 });
  const pids = fs.readdirSync(folder).filter((name) => name.startsWith(`${path.basename(file)}.lock.`)).map((name) => Number(name.split('.').at(-1)));
  for (const pid of pids.filter((one) => one !== process.pid)) {
    if (isHeld(claim(pid), pid)) {
      fs.rmSync(claim(process.pid), { force: true });
      throw new Trouble('another process works with the journal');
    }
    fs.rmSync(claim(pid), { force: true });
  }
  process.once('exit', () => fs.rmSync(claim(process.pid), { force: true }));
}

function isHeld(claim, pid) {
  const now = startOf(pid);
  if (now === undefined) return false;
  let then;
  try {
    then = fs.readFileSync(claim, 'ascii');
  } catch {
    return false; // let go of meanwhile
  }
  return !then || !now || then === now;
}

// Since when a process runs, in the kernel's own words; '' where it has none for it, undefined where none runs.
function startOf(pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error.code === 'ESRCH') return undefined;
  }
  try {
    const [state, ...fields] = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1).split(' ');
    return state === 'Z' ? undefined : fields[18];
  } catch {
    return '';
  }
}

// ---------------------------------------------------------------------- reading

export function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Trouble(`${path.basename(file)}: ${error.code ?? 'not JSON'}`);
  }
}

// Whether JavaScript holds every number of a text in JSON as it stands: what it rounds would be written back rounded, and
// two numbers of records would be one.
export function isExact(text) {
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;
  for (const [token] of text.matchAll(tokens)) {
    const digits = token.replace(/[eE].*/, '').replace(/\D/g, '').length;
    if (token[0] !== '"' && !(Number.isFinite(Number(token)) && (digits < 16 || String(Number(token)) === token))) return false;
  }
  return true;
}

// ---------------------------------------------------------------------- writing

export function append(file, text) {
  const { size } = fs.fstatSync(file);
  try {
    for (let left = Buffer.from(text); left.length;) left = left.subarray(fs.writeSync(file, left));
    fs.fsyncSync(file);
  } catch (error) {
    fs.ftruncateSync(file, size); // half a line: the next one must not be glued to it
    throw error;
  }
}

// In the place of a file that is there, whole or not at all, for whom that one was: written beside, on disk, moved over.
export function replace(file, text) {
  const mode = fs.statSync(file).mode & 0o7777;
  const beside = fs.openSync(besides(file), 'w', 0o600);
  try {
    fs.fchmodSync(beside, mode);
    fs.writeFileSync(beside, text);
    fs.fsyncSync(beside);
  } finally {
    fs.closeSync(beside);
  }
  fs.renameSync(besides(file), file);
  syncFolder(file);
}

// What a process that was killed in the middle of `replace` left.
export const forget = (file) => fs.rmSync(besides(file), { force: true });

const besides = (file) => `${file}.new`;

// So that the name of a file survives a power cut as well.
export function syncFolder(file) {
  if (process.platform === 'win32') return; // has no such call
  const folder = fs.openSync(path.dirname(path.resolve(file)), 'r');
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}
