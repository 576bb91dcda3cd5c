/** What the tests about real processes share: a private directory, programs in it, and whether a pid is still at work. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A directory of its own, removed when the scope ends. */
export function temporaryDirectory(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "openclaw-exec-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Writes an executable shell script and gives its path. */
export function writeScript(path: string, body: string): string {
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

/** Resolves once `condition` gives a value; the test's own time-out is the only deadline. */
export async function eventually<T>(condition: () => T | undefined | false): Promise<T> {
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== false) return value;
    await delay(10);
  }
}

/** The number a process has written to `path`, once it is there with its line end. */
export function pidFrom(path: string): Promise<number> {
  return eventually(() => {
    try {
      const [, digits] = /^(\d+)\n/u.exec(readFileSync(path, "utf8")) ?? [];
      return digits === undefined ? undefined : Number(digits);
    } catch {
      return undefined;
    }
  });
}

/** False once the process has ended; one that nobody has waited for yet (a zombie) has ended too. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return process.platform !== "linux";
  }
}
