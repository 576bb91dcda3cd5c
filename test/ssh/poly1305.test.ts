/** ChaCha20-Poly1305's codes are the same before and after WebAssembly is compiled for them, which nothing does until one is wanted. */
import { createRequire } from "node:module";
import { expect, test, vi } from "vitest";
import { deferPoly1305 } from "../../src/ssh/poly1305.ts";

// RFC 8439 § 2.5.2, of which the first part goes as the additional data: the code is of both, one behind the other.
const key = Buffer.from("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b", "hex");
const [additional, data] = [Buffer.from("Cryptographic "), Buffer.from("Forum Research Group")];
const code = "a8061dc1305136c6c22b8baf0c0127a9";

interface Compiled {
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  cwrap(name: string, result: null, types: readonly string[]): (to: number, ...input: unknown[]) => void;
}

test("the first code comes from a script, later ones from the module that was compiled meanwhile, and all are right", async () => {
  const require = createRequire(import.meta.url);
  const { lowlevel } = require("tweetnacl") as { lowlevel: { crypto_onetimeauth: () => void } };
  const scripted = vi.spyOn(lowlevel, "crypto_onetimeauth");
  deferPoly1305();
  const load = require("ssh2/lib/protocol/crypto/poly1305.js") as () => Promise<Compiled>;
  const compiled = await load();
  const at = compiled._malloc(16);
  const authenticate = compiled.cwrap("poly1305_auth", null, []);
  const codeNow = () => {
    authenticate(at, additional, additional.length, data, data.length, key);
    return Buffer.from(compiled.HEAPU8.subarray(at, at + 16)).toString("hex");
  };
  expect(codeNow()).toBe(code);
  expect(scripted).toHaveBeenCalledOnce();
  await vi.waitFor(() => {
    scripted.mockClear();
    expect(codeNow()).toBe(code);
    expect(scripted).not.toHaveBeenCalled();
  });
});
