/** The key of `tunnel key`: the one that was named, or one of this machine's own that is made when there is none. */
import { OpenClawError } from "../errors.ts";
import { readTextFile } from "../store/atomic-file.ts";
import { Credentials } from "../ssh/credentials.ts";
import { publicBlobOf } from "../ssh/ssh-key.ts";
import type { Context } from "./context.ts";

export interface TunnelKeyFlags {
  readonly identityFile?: readonly string[];
  readonly out?: string;
  readonly test?: boolean;
}

export interface TunnelKey {
  readonly path: string;
  readonly created: boolean;
}

/** Throws `usage` for keys that contradict each other or are not there to be tested, `conflict` for a new key where a file is. */
export async function findTunnelKey(context: Context, flags: TunnelKeyFlags): Promise<TunnelKey> {
  const { identityFile: [named, ...others] = [], out, test = false } = flags;
  if (others.length > 0 || (named !== undefined && out !== undefined)) {
    throw new OpenClawError("usage", "a line is for one key", {
      hint: "name an existing one with -i, or where to write a new one with --out",
    });
  }
  if (named !== undefined) return { path: named, created: false };
  const path = out ?? context.paths().tunnelKey;
  const present = await readTextFile(path);
  if (present !== undefined && out === undefined) return { path, created: false };
  if (present !== undefined) {
    throw new OpenClawError("conflict", `${path} is there already, and is left as it is`, {
      hint: `to use it as the key, name it with -i ${path}`,
      details: { path },
    });
  }
  if (test) {
    throw new OpenClawError("usage", "there is no key to test", {
      hint: "make one without --test, put its line into authorized_keys on the server, then test it",
    });
  }
  const { generateSshKey } = await import("../ssh/ssh-key.ts");
  const { writeTextFile } = await import("../store/atomic-file.ts");
  await writeTextFile(path, generateSshKey("openclaw-tunnel").privateKey.reveal());
  return { path, created: true };
}

/** Credentials that offer this key and nothing else, however much more there is. */
export function onlyKey({ options }: Credentials, path: string): Credentials {
  const { password: _never, ...rest } = options;
  return new Credentials({ ...rest, identityFiles: [path], identitiesOnly: true });
}

/** The public half of the credentials' one key. Throws `ssh-auth` when it takes a passphrase that nobody gives. */
export async function publicKeyOf(credentials: Credentials): Promise<Buffer> {
  const [file] = await credentials.namedFiles();
  if (file === undefined) throw new OpenClawError("internal", "there is no key to read");
  const known = publicBlobOf(file.text);
  if (known !== undefined) return known;
  const unlocked = await credentials.unlock(file, credentials.options);
  if ("key" in unlocked) return unlocked.key.getPublicSSH();
  throw new OpenClawError("ssh-auth", `the key ${file.path} ${unlocked.problem}`, {
    hint: "give its passphrase with --passphrase-file",
  });
}
