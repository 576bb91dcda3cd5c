/**
 * Makes the packets of ssh2 cheap, above all where Node.js encrypts them, that is without the library's native addon: half the CPU time of
 * a transfer. The library's own fields are looked at for that; where one is not what it was, nothing is changed but the speed.
 */
import { KeyObject, createSecretKey } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Client } from "ssh2";
import { free } from "./free.ts";
import { lendReads } from "./lend-reads.ts";
import {
  emptyPacket,
  type GcmDecryption,
  gcmDecryption,
  type GcmKey,
  GcmOpener,
  gcmSealer,
  type TakePayload,
} from "./gcm-packets.ts";
import { hasNativeCrypto } from "./ssh2.ts";

/** To be called before `client` connects over `socket`. */
export function quickenPackets(client: Client, socket: Duplex): void {
  gatherWrites(socket);
  let isLent = false;
  // A long connection has several key exchanges, and each makes new ciphers.
  client.on("handshake", () => {
    for (const cipher of ciphersOf(client)) {
      padFromPool(cipher);
      keepKeyObjects(cipher);
      if (!hasKeyObject(cipher)) continue;
      if (!sealGcm(cipher)) sendWhole(cipher);
    }
    const keepsNothing = ciphersOf(client).some(openGcm);
    // Other ciphers decrypt in place, and what they hand on lies in there.
    const show = (chunk: Buffer) => socket.emit("data", keepsNothing ? chunk : Buffer.from(chunk));
    isLent = lendReads(socket, show) && keepsNothing;
  });
  client.once("ready", () => {
    if (isLent) return;
    // Behind the library's own listener: it has decrypted the chunk by now. Other ciphers may still hold a part of it.
    socket.on("data", (chunk: Buffer) => {
      if (!isLent && ciphersOf(client).some((cipher) => isKeyObject(Reflect.get(cipher, gcmDecipherKey)))) free(chunk);
    });
  });
}

/** Whether everything was found that `quickenPackets` looks for in the ciphers of `client`, which must be connected. */
export function hasQuickPackets(client: Client): boolean {
  const ciphers = ciphersOf(client);
  return ciphers.length === 2 && ciphers.every((cipher) => hasKeyObject(cipher) && !keysOf(cipher).some(isBytes));
}

/** Whether what `client` hands on lies in memory of its own. The addon decrypts in place: what several channels get may lie in one chunk. */
export function handsOnApart(client: Client): boolean {
  return !hasNativeCrypto() || ciphersOf(client).some((cipher) => openedApart.has(cipher));
}

/**
 * Sends what is written to `socket` in one turn of the event loop at the end of that turn, in one call, but for a small packet that comes
 * first: it may be the only one, and leaves at once. Frees what was written.
 */
export function gatherWrites(socket: Duplex): void {
  const write = socket.write.bind(socket);
  let isGathering = false;
  const send = () => {
    isGathering = false;
    socket.uncork();
  };
  const gather = () => {
    if (isGathering) return;
    isGathering = true;
    socket.cork();
    process.nextTick(send);
  };
  socket.write = (chunk: Buffer): boolean => {
    const leavesAtOnce = !isGathering && chunk.length > lengthBytes && chunk.length <= smallBytes;
    if (!leavesAtOnce) gather();
    const written = chunk.length > smallBytes ? write(chunk, () => free(chunk)) : write(own(chunk));
    gather();
    return written;
  };
}

/** The length field of a packet (RFC 4253 § 6). */
const lengthBytes = 4;
/** Copying less than this costs less than handing it on in pieces. */
const smallBytes = 4 * 1024;

/** A length alone is a view of the packet, which is gone by the time of the call. */
function own(chunk: Buffer): Buffer {
  return chunk.length === lengthBytes ? Buffer.from(chunk) : chunk;
}

/** The library's names for keys: of AES-GCM, of ChaCha20, and of the HMAC beside a counter mode. Its addon has none of them. */
const gcmDecipherKey = "_decipherKey";
const gcmCipherKey = "_encKey";
const keyFields = [
  gcmDecipherKey,
  gcmCipherKey,
  "_encKeyMain",
  "_encKeyPktLen",
  "_decKeyMain",
  "_decKeyPktLen",
  "_macKey",
] as const;

/**
 * ssh2 makes a cipher of Node.js for each packet. Given a key as bytes, Node.js finds out by two caught exceptions, each with a stack
 * trace, that it is no key object: 45 us for 32 KiB, and 20 us with one.
 */
function keepKeyObjects(cipher: object): void {
  for (const name of keyFields) {
    const key: unknown = Reflect.get(cipher, name);
    if (isBytes(key)) Reflect.set(cipher, name, createSecretKey(key));
  }
}

/** What is used of the library's ciphers for AES-GCM. */
interface Sealing {
  readonly _dead: boolean;
  readonly _onWrite: (piece: Buffer) => void;
  outSeqno: number;
  allocPacket: (payloadBytes: number) => Buffer;
  encrypt: (packet: Buffer) => void;
}
interface Opening {
  /** Exchanged by the library while keys are. */
  readonly _onPayload: TakePayload;
  /** How much there is of the length of the packet that is being read: none between two packets. */
  readonly _lenBytes: number;
  inSeqno: number;
  decrypt: (data: Buffer, at: number) => number | undefined;
}

/** The addon's AES-GCM asks the system for each packet's few random bytes. What it makes has room for the tag. */
function padFromPool(cipher: object): void {
  if (cipher.constructor.name !== "AESGCMCipherBinding" || !isSealing(cipher)) return;
  cipher.allocPacket = (payloadBytes) => emptyPacket(payloadBytes, gcmTagBytes);
}

const gcmTagBytes = 16;

/** Has AES-GCM seal by `gcm-packets.ts`, and send small packets as one piece. False for anything else. */
function sealGcm(cipher: object): boolean {
  const key = gcmKey(cipher, ["_encSSLName", gcmCipherKey, "_encIV"]);
  if (key === undefined || !isSealing(cipher)) return false;
  const seal = gcmSealer(key);
  const { _onWrite: write } = cipher;
  cipher.allocPacket = emptyPacket;
  cipher.encrypt = (packet) => {
    if (cipher._dead) return;
    const pieces = seal(packet);
    const whole = pieces.length > 1 && packet.length <= smallBytes ? [Buffer.concat(pieces)] : pieces;
    for (const piece of whole) write(piece);
    free(packet);
    cipher.outSeqno = afterNumber(cipher.outSeqno);
  };
  return true;
}

/** Has AES-GCM open by it, and keep nothing of what it opens. False for anything else. */
function openGcm(cipher: object): boolean {
  const decryption = decryptionOf(cipher);
  // The server's first packets come while its host key is still being looked at, and one of them may have come in part.
  if (decryption === undefined || !isOpening(cipher) || cipher._lenBytes !== 0) return false;
  const opener = new GcmOpener(decryption, (payload) => {
    cipher.inSeqno = afterNumber(cipher.inSeqno);
    return cipher._onPayload(payload);
  });
  cipher.decrypt = (data, at) => opener.open(data, at);
  openedApart.add(cipher);
  return true;
}

/** The library's ciphers that `openGcm` has taken over. */
const openedApart = new WeakSet<object>();

function decryptionOf(cipher: object): GcmDecryption | undefined {
  const key = gcmKey(cipher, ["_decipherSSLName", gcmDecipherKey, "_decipherIV"]);
  return key === undefined ? addonDecryption(cipher) : gcmDecryption(key);
}

/** The addon keeps key and nonce to itself, and decrypts whole packets in place. */
function addonDecryption(cipher: object): GcmDecryption | undefined {
  const addon: unknown = Reflect.get(cipher, "_instance");
  if (cipher.constructor.name !== "AESGCMDecipherBinding" || !isAddonDecryption(addon)) return undefined;
  return {
    begin: () => undefined,
    open: (length, encrypted, tag) => addon.decrypt(encrypted, length.readUInt32BE(), tag),
  };
}

interface AddonDecryption {
  readonly decrypt: (encrypted: Buffer, lengthBytes: number, tag: Buffer) => void;
}

function isAddonDecryption(addon: unknown): addon is AddonDecryption {
  return isObject(addon) && typeof Reflect.get(addon, "decrypt") === "function";
}

/** Both sides number their packets (RFC 4253 § 6.4). The library looks at the number when it makes the next cipher. */
function afterNumber(sequence: number): number {
  return (sequence + 1) >>> 0;
}

function isSealing(cipher: object): cipher is Sealing {
  return typeof Reflect.get(cipher, "_onWrite") === "function" && typeof Reflect.get(cipher, "outSeqno") === "number";
}

function isOpening(cipher: object): cipher is Opening {
  return typeof Reflect.get(cipher, "_onPayload") === "function" && typeof Reflect.get(cipher, "inSeqno") === "number";
}

function gcmKey(cipher: object, names: readonly [string, string, string]): GcmKey | undefined {
  const [algorithm, key, nonce] = names.map((name): unknown => Reflect.get(cipher, name));
  if (algorithm !== "aes-128-gcm" && algorithm !== "aes-256-gcm") return undefined;
  return isKeyObject(key) && isBytes(nonce) ? { algorithm, key, nonce } : undefined;
}

/**
 * A cipher hands on a packet as length, contents and code. What is small travels as one piece: three cost three times as much on the way
 * to the system. The packet it was made from is of no more use.
 */
function sendWhole(cipher: object): void {
  const [encrypt, write]: unknown[] = [Reflect.get(cipher, "encrypt"), Reflect.get(cipher, "_onWrite")];
  if (typeof encrypt !== "function" || typeof write !== "function") return;
  let pieces: Buffer[] = [];
  Reflect.set(cipher, "_onWrite", (piece: Buffer) => pieces.push(piece));
  Reflect.set(cipher, "encrypt", (packet: Buffer): void => {
    Reflect.apply(encrypt, cipher, [packet]);
    const sent = pieces.length > 0 && packet.length <= smallBytes ? [Buffer.concat(pieces)] : pieces;
    pieces = [];
    for (const piece of sent) Reflect.apply(write, undefined, [piece]);
    free(packet);
  });
}

function ciphersOf(client: Client): object[] {
  const protocol: unknown = Reflect.get(client, "_protocol");
  if (!isObject(protocol)) return [];
  return [Reflect.get(protocol, "_cipher"), Reflect.get(protocol, "_decipher")].filter(isObject);
}

function keysOf(cipher: object): unknown[] {
  return keyFields.map((name): unknown => Reflect.get(cipher, name));
}

function hasKeyObject(cipher: object): boolean {
  return keysOf(cipher).some(isKeyObject);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function isKeyObject(value: unknown): value is KeyObject {
  return value instanceof KeyObject;
}

function isBytes(value: unknown): value is Buffer {
  return Buffer.isBuffer(value);
}
