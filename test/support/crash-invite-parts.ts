/** What the process that is killed while it joins, and the one that looks at what is left, have in common. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { TokenMemory } from "../../src/client/open-session.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { Secret } from "../../src/secret.ts";

export const crashToken = "crash-test-token";
export const crashTokenKey = Buffer.alloc(32, 3);
export const crashIdentity = createIdentity(Buffer.alloc(32, 9), 0);

/** The node's one token, in a file. */
export function tokenInFile(path: string): TokenMemory {
  const read = () => (existsSync(path) ? readFileSync(path, "utf8") : undefined);
  return {
    recall: (_key) => {
      const text = read();
      return Promise.resolve(text === undefined ? undefined : { token: new Secret(text), scopes: [], updatedAtMs: 0 });
    },
    remember: (_key, { token }) => Promise.resolve(writeFileSync(path, token.reveal())),
    forget: (_key) => Promise.resolve(rmSync(path, { force: true })),
  };
}
