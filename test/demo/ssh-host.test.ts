import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type SshHostOptions, startSshHost } from "../../src/demo/ssh-host.ts";
import { systemRuntime } from "../../src/runtime.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "ssh-host-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function options(more: Partial<SshHostOptions> = {}): SshHostOptions {
  return { directory: join(directory, "ssh"), runtime: systemRuntime, signal: new AbortController().signal, ...more };
}

/** What the server on this port says first. */
async function greeting(port: number): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.end();
  return text(socket);
}

test("OpenSSH's server where it is installed, with keys that only this user reads", async () => {
  await using host = await startSshHost(options());
  expect(host.kind).toBe("openssh");
  expect(await greeting(host.port)).toMatch(/^SSH-2\.0-OpenSSH/u);
  expect(host.hostKey).toMatch(/^ssh-ed25519 AAAA/u);
  const open = readdirSync(join(directory, "ssh")).filter(
    (name) => (statSync(join(directory, "ssh", name)).mode & 0o077) !== 0,
  );
  expect(open.filter((name) => name !== "sshd.pid")).toEqual([]);
});

test.each([
  ["is not installed", []],
  ["is not where it is looked for", ["/nowhere/sshd"]],
  ["does not start", ["/bin/false"]],
  ["cannot be started", ["/etc"]],
])("where sshd %s, one of our own", async (_why, sshdPaths) => {
  await using host = await startSshHost(options({ sshdPaths }));
  expect(host.kind).toBe("in-process");
  expect(await greeting(host.port)).toMatch(/^SSH-2\.0-/u);
});

test("afterwards it is gone: sshd has taken its pid file away, and nobody greets us on its port any more", async () => {
  const host = await startSshHost(options());
  await host[Symbol.asyncDispose]();
  expect(readdirSync(join(directory, "ssh"))).not.toContain("sshd.pid");
  await expect(greeting(host.port)).rejects.toThrow(/ECONNREFUSED|ECONNRESET/u); // another server may have the port by now
});

test("sshd ends with who started it: when the pipe that it is tied to closes", async () => {
  const script = [
    `import { startSshHost } from ${JSON.stringify(new URL("../../src/demo/ssh-host.ts", import.meta.url).href)};`,
    `import { systemRuntime as runtime } from ${JSON.stringify(new URL("../../src/runtime.ts", import.meta.url).href)};`,
    `const directory = ${JSON.stringify(join(directory, "ssh"))};`,
    `const { port, kind } = await startSshHost({ directory, runtime, signal: new AbortController().signal });`,
    `console.log(JSON.stringify({ port, kind }));`,
    `setInterval(() => {}, 1000);`,
  ];
  const child = spawn(process.execPath, ["--input-type=module", "-e", script.join("\n")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const { port, kind } = JSON.parse(String(line)) as { port: number; kind: string };
  expect(kind).toBe("openssh");
  expect(await greeting(port)).toMatch(/^SSH-2\.0-OpenSSH/u);
  child.kill("SIGKILL");
  await expect.poll(() => readdirSync(join(directory, "ssh")), { timeout: 30_000 }).not.toContain("sshd.pid");
});

test("being asked to stop while sshd comes up leaves no sshd", async () => {
  const stop = new AbortController();
  const runtime = {
    ...systemRuntime,
    sleep: (ms: number, signal?: AbortSignal) => {
      stop.abort(new Error("asked to stop"));
      return systemRuntime.sleep(ms, signal);
    },
  };
  await expect(startSshHost(options({ runtime, signal: stop.signal }))).rejects.toThrow("asked to stop");
  expect(readdirSync(join(directory, "ssh"))).not.toContain("sshd.pid");
});
