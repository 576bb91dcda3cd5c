/**
 * The process that asks the OS keychain one thing and ends. A process of its own, because a keychain may wait for a person for ever, inside
 * native code, where no timer of the same process can end it. The question comes on standard input, the answer goes to standard output:
 * nothing secret is in argv or in the environment.
 */
import { text } from "node:stream/consumers";
import type { KeychainAnswer, KeychainQuestion } from "./keychain.ts";

/** The kernel's keyring, which the library falls back to, forgets at reboot: only the Secret Service counts (toolchain.md). */
const entryOptions = { linux: { store: "secret-service" } } as const;

async function ask({ action, service, account, secret }: KeychainQuestion): Promise<KeychainAnswer> {
  const { AsyncEntry } = await import("keytar");
  const entry = new AsyncEntry(service, account, entryOptions);
  switch (action) {
    case "read":
      return { ok: true, secret: await entry.getPassword() };
    case "write":
      await entry.setPassword(secret ?? "");
      return { ok: true, secret: null };
    case "remove":
      await entry.deletePassword();
      return { ok: true, secret: null };
  }
}

async function answer(): Promise<KeychainAnswer> {
  try {
    const question: KeychainQuestion = JSON.parse(await text(process.stdin));
    return await ask(question);
  } catch (error) {
    return { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
}

void answer().then((value) => {
  // Threads of the library may still wait for the bus: the process ends when its answer is out.
  process.stdout.write(JSON.stringify(value), () => process.exit());
});
