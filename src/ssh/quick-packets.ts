/**
 * Makes the packets of ssh2 cheap where Node.js encrypts them, that is without the library's native addon: half the CPU time of a
 * transfer. The library's own fields are looked at for that; where one is not what it was, nothing is changed but the speed.
 */
import { KeyObject, createSecretKey } from "node:crypto";
import type { Duplex } from "node:stream";
import type { Client } from "ssh2";
import { free } from "./free.ts";

/** To be called before `client` connects over `socket`. */
export function quickenPackets(client: Client, socket: Duplex): void {
  gatherWrites(socket);
  // A long connection has several key exchanges, and each makes new ciphers.
  client.on("handshake", () => {
    for (const cipher of ciphersOf(client)) {
      keepKeyObjects(cipher);
      if (hasKeyObject(cipher)) freePackets(cipher);
    }
  });
  client.once("ready", () => {
    // Behind the library's own listener: it has decrypted the chunk by now. Other ciphers may still hold a part of it.
    socket.on("data", (chunk: Buffer) => {
      if (ciphersOf(client).some((cipher) => isKeyObject(Reflect.get(cipher, gcmDecipherKey)))) free(chunk);
    });
  });
}

/** Whether everything was found that `quickenPackets` looks for in the ciphers of `client`, which must be connected. */
export function hasQuickPackets(client: Client): boolean {
  const ciphers = ciphersOf(client);
  return ciphers.length === 2 && ciphers.every((cipher) => hasKeyObject(cipher) && !keysOf(cipher).some(isBytes));
}

/**
 * Sends what is written to `socket` in one turn of the event loop at the end of that turn, in one call. ssh2 writes each packet as length,
 * contents and code, and without Nagle's algorithm each of the three would travel alone. Frees what was written.
 */
export function gatherWrites(socket: Duplex): void {
  const write = socket.write.bind(socket);
  let isGathering = false;
  const send = () => {
    isGathering = false;
    socket.uncork();
  };
  socket.write = (chunk: Buffer): boolean => {
    if (!isGathering) {
      isGathering = true;
      socket.cork();
      process.nextTick(send);
    }
    // The length is a view of the packet, which is gone by the time of the call.
    return chunk.length === lengthBytes ? write(Buffer.from(chunk)) : write(chunk, () => free(chunk));
  };
}

/** The length field of a packet (RFC 4253 § 6). */
const lengthBytes = 4;

/** The library's names for keys: of AES-GCM, of ChaCha20, and of the HMAC beside a counter mode. Its addon has none of them. */
const gcmDecipherKey = "_decipherKey";
const keyFields = [
  gcmDecipherKey,
  "_encKey",
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

/** A packet is built, encrypted into memory of its own, and of no more use. */
function freePackets(cipher: object): void {
  const encrypt: unknown = Reflect.get(cipher, "encrypt");
  if (typeof encrypt !== "function") return;
  Reflect.set(cipher, "encrypt", (packet: Buffer): void => {
    Reflect.apply(encrypt, cipher, [packet]);
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

function isKeyObject(value: unknown): boolean {
  return value instanceof KeyObject;
}

function isBytes(value: unknown): value is Buffer {
  return Buffer.isBuffer(value);
}
