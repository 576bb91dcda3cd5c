/**
 * The WebAssembly that ssh2 compiles as it is loaded, and needs only for ChaCha20-Poly1305: put off until a server has chosen that cipher,
 * which those with AES-GCM do not. It weighs 1.3 MiB for as long as a tunnel lives.
 */
import { createRequire, Module } from "node:module";

/** The code of `data` after `additional` under a key for this once (RFC 8439 § 2.5); the lengths go along because WebAssembly has none. */
type Authenticate = (
  additional: Uint8Array,
  additionalBytes: number,
  data: Uint8Array,
  dataBytes: number,
  key: Uint8Array,
) => Uint8Array;

/** The compiled module, as much of it as the library uses: the code is written to an address in its memory. */
interface Compiled {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  cwrap(
    name: string,
    result: null,
    parameters: readonly string[],
  ): (to: number, ...input: Parameters<Authenticate>) => void;
}

/** The part of tweetnacl that its own types leave out. The library has it loaded, for keys under a passphrase. */
interface ScriptedPoly1305 {
  readonly lowlevel: {
    crypto_onetimeauth(
      code: Uint8Array,
      at: number,
      message: Uint8Array,
      from: number,
      bytes: number,
      key: Uint8Array,
    ): void;
  };
}

const codeBytes = 16;
const require = createRequire(import.meta.url);

/** To be called before the library is loaded; later, or with a library that keeps it elsewhere, it does nothing. */
export function deferPoly1305(): void {
  const path = pathOf("ssh2/lib/protocol/crypto/poly1305.js");
  if (path === undefined || require.cache[path] !== undefined) return;
  let authenticate: Authenticate | undefined;
  const begin = (): Authenticate => {
    delete require.cache[path];
    compile(require(path))
      .then((compiled) => (authenticate = compiled))
      .catch(() => {}); // the script does it too, only slower
    // The packet is there already, and compiling takes a moment.
    return byScript;
  };
  const code = new Uint8Array(codeBytes);
  const standIn: Compiled = {
    HEAPU8: code,
    _malloc: () => 0,
    cwrap:
      () =>
      (_to, ...input) =>
        code.set((authenticate ??= begin())(...input)),
  };
  require.cache[path] = Object.assign(new Module(path), { loaded: true, exports: () => Promise.resolve(standIn) });
}

function pathOf(module: string): string | undefined {
  try {
    return require.resolve(module);
  } catch {
    return undefined;
  }
}

async function compile(load: () => Promise<Compiled>): Promise<Authenticate> {
  const compiled = await load();
  const at = compiled._malloc(codeBytes);
  const types = ["number", "array", "number", "array", "number", "array"];
  const run = compiled.cwrap("poly1305_auth", null, types);
  return (...input) => {
    run(at, ...input);
    return compiled.HEAPU8.subarray(at, at + codeBytes);
  };
}

function byScript(...[additional, , data, , key]: Parameters<Authenticate>): Uint8Array {
  const nacl: ScriptedPoly1305 = require("tweetnacl");
  const code = new Uint8Array(codeBytes);
  const message = Buffer.concat([additional, data]);
  nacl.lowlevel.crypto_onetimeauth(code, 0, message, 0, message.length, key);
  return code;
}
