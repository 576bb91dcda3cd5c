/** Trust in a server's host key, against OpenSSH's own server: nothing is sent before it is there. */
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { connectSsh } from "../../src/ssh/connect.ts";
import { algorithmsFor, knownHostsFiles } from "../../src/ssh/host-keys.ts";
import type { HostKeyOptions } from "../../src/ssh/host-keys.ts";
import { startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { optionsFor, temporaryDirectory } from "../tunnel/world.ts";

let sshd: Sshd;
let known: string;
beforeAll(async () => {
  sshd = await startSshd({ hostKeyTypes: ["rsa", "ecdsa"] });
  known = await readFile(sshd.knownHostsFile, "utf8");
});
afterAll(async () => sshd[Symbol.asyncDispose]());

/** Connects and says goodbye; returns the fingerprint of the key that was shown. */
async function visit(hostKeys: Partial<HostKeyOptions>): Promise<string> {
  await using connection = await connectSsh(optionsFor(sshd, { hostKeys }));
  return connection.hostKeyFingerprint;
}

/** Options that read and write one file with this text; `text()` reads it back. */
async function fileWith(text: string | undefined) {
  const directory = await temporaryDirectory();
  const path = join(directory.path, "ssh", "known_hosts");
  const files = knownHostsFiles("/nonexistent", path);
  if (text !== undefined) {
    await mkdir(join(directory.path, "ssh"));
    await writeFile(path, text);
  }
  return { path, files, text: () => readFile(path, "utf8"), [Symbol.asyncDispose]: directory[Symbol.asyncDispose] };
}

async function publicKey(type: string): Promise<string> {
  const [keyType, base64] = (await readFile(join(sshd.directory, `host_${type}.pub`), "utf8")).split(" ");
  return `${keyType} ${base64}`;
}

/** Every attempt is a line at this log level, with the user's name in it. */
function authenticationAttempts(): number {
  return sshd.log.filter((line) => /Accepted|Failed|userauth|authenticating user/.test(line)).length;
}

test("a known key is accepted without a question", async () => {
  expect(await visit({})).toBe(sshd.hostKeyFingerprint);
});

test.each(["ed25519", "rsa", "ecdsa"])("the server is asked for its %s key when only that is known", async (type) => {
  await using file = await fileWith(`[127.0.0.1]:${sshd.port} ${await publicKey(type)}\n`);
  await expect(visit({ files: file.files })).resolves.toMatch(/^SHA256:/);
});

test("a changed key is refused with file, line and a command, and nobody logs in", async () => {
  const [address = ""] = known.split(" ");
  const other = await readFile(join(sshd.directory, "user.pub"), "utf8");
  await using file = await fileWith(`# mine\n\n${address} ${other}`);
  const before = authenticationAttempts();
  await expect(visit({ files: file.files, policy: "accept-new" })).rejects.toMatchObject({
    code: "host-key-changed",
    message: expect.stringContaining(`${file.path}:3`),
    details: { file: file.path, line: 3, fingerprint: sshd.hostKeyFingerprint },
    fix: `ssh-keygen -f ${file.path} -R '${address}'`,
  });
  expect(authenticationAttempts()).toBe(before);
});

test("a key of a type that is not listed is refused like any other change", async () => {
  await using only = await startSshd();
  const [address = ""] = (await readFile(only.knownHostsFile, "utf8")).split(" ");
  await using file = await fileWith(`${address} ${await publicKey("rsa")}\n`);
  await expect(
    connectSsh(optionsFor(only, { hostKeys: { files: file.files, policy: "accept-new" } })),
  ).rejects.toMatchObject({ code: "host-key-changed", message: expect.stringContaining("another type (ssh-rsa)") });
});

test("a revoked key is refused even when it is pinned", async () => {
  await using file = await fileWith(`${known}@revoked * ${await publicKey("ed25519")}\n`);
  await expect(visit({ files: file.files, fingerprint: sshd.hostKeyFingerprint })).rejects.toMatchObject({
    code: "host-key-changed",
    details: { line: 2, revoked: true },
  });
});

test("an unknown key with nobody to ask fails with its fingerprint and the flags that would answer", async () => {
  await using file = await fileWith("");
  const before = authenticationAttempts();
  await expect(visit({ files: file.files })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining(sshd.hostKeyFingerprint),
    hint: expect.stringMatching(/--host-key-fingerprint SHA256:\S+, or --host-key-policy accept-new/),
    details: { fingerprint: sshd.hostKeyFingerprint, keyType: "ssh-ed25519" },
  });
  expect(authenticationAttempts()).toBe(before);
  expect(await file.text()).toBe("");
});

test("an unknown key of a host that may stand in a line we cannot use says so", async () => {
  await using file = await fileWith(`broken line\n@cert-authority * ${await publicKey("rsa")}\n`);
  await expect(visit({ files: file.files })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(
      /skipped what cannot be read: \S+:1; \S+:2 is a @cert-authority line, and host certificates are not supported/,
    ),
  });
});

test("the question tells what could not be used, and that a named file is missing", async () => {
  const askHostKey = vi.fn(async () => false);
  await using broken = await fileWith(
    `@cert-authority *.0.1,[127.0.0.1]:* ${await publicKey("rsa")}\n@cert-authority other ${await publicKey("rsa")}\n`,
  );
  await expect(visit({ files: broken.files, askHostKey })).rejects.toMatchObject({ code: "host-key-unknown" });
  await using none = await fileWith(undefined);
  await expect(visit({ files: none.files, askHostKey })).rejects.toMatchObject({ code: "host-key-unknown" });
  const about = { host: "127.0.0.1", port: sshd.port, keyType: "ssh-ed25519", fingerprint: sshd.hostKeyFingerprint };
  expect(askHostKey.mock.calls).toEqual([
    [{ ...about, note: `${broken.path}:1 is a @cert-authority line, and host certificates are not supported` }],
    [{ ...about, note: `there is no ${none.path}` }],
  ]);
});

test("an alias is looked up and remembered in the place of the address, without the port", async () => {
  await using file = await fileWith(undefined);
  const hostKeys = { files: file.files, alias: "pantry" };
  await visit({ ...hostKeys, policy: "accept-new" });
  expect(await file.text()).toBe(`pantry ${await publicKey("ed25519")}\n`);
  expect(await visit(hostKeys)).toBe(sshd.hostKeyFingerprint);
  await writeFile(file.path, `pantry ${await readFile(join(sshd.directory, "user.pub"), "utf8")}`);
  await expect(visit(hostKeys)).rejects.toMatchObject({ code: "host-key-changed", details: { line: 1 } });
});

test("a name is remembered as a hash where the configuration wants that", async () => {
  await using file = await fileWith(undefined);
  await visit({ files: file.files, policy: "accept-new", hashesNames: true });
  expect(await file.text()).toMatch(/^\|1\|\S+\|\S+ ssh-ed25519 \S+\n$/);
  expect(await visit({ files: file.files })).toBe(sshd.hostKeyFingerprint);
});

test.each([
  ["/dev/null", { read: ["/dev/null"], append: "/dev/null" }],
  ["no file at all", { read: [] }],
])("%s remembers nothing, and that is no failure", async (_name, files) => {
  expect(await visit({ files, policy: "accept-new" })).toBe(sshd.hostKeyFingerprint);
});

test("a server that hangs up while a person thinks is an SSH failure, whatever they answer", async () => {
  await using file = await fileWith("");
  const askHostKey = async () => {
    await sshd.killSessions();
    return true;
  };
  await expect(visit({ files: file.files, askHostKey })).rejects.toMatchObject({ code: "ssh" });
});

test("a person who trusts an unknown key is asked once, and never again", async () => {
  await using file = await fileWith(undefined);
  const askHostKey = vi.fn(async () => true);
  await visit({ files: file.files, askHostKey });
  await visit({ files: file.files, askHostKey });
  expect(askHostKey.mock.calls).toEqual([
    [expect.objectContaining({ host: "127.0.0.1", port: sshd.port, fingerprint: sshd.hostKeyFingerprint })],
  ]);
  expect(await file.text()).toBe(known);
  expect((await stat(file.path)).mode & 0o777).toBe(0o600);
});

test("a person who does not trust it ends the attempt, and nothing is remembered", async () => {
  await using file = await fileWith("");
  await expect(visit({ files: file.files, askHostKey: async () => false })).rejects.toMatchObject({
    code: "host-key-unknown",
    message: expect.stringContaining("was not trusted"),
  });
  expect(await file.text()).toBe("");
});

test("the clock stands still while a person thinks", async () => {
  await using file = await fileWith("");
  const running = new Set<() => void>();
  const after = (ms: number, action: () => void) => {
    const stop = systemRuntime.after(ms, action);
    running.add(stop);
    return () => {
      running.delete(stop);
      stop();
    };
  };
  const runningWhenAsked = Promise.withResolvers<number>();
  const askHostKey = async () => {
    runningWhenAsked.resolve(running.size);
    return true;
  };
  const runtime = { ...systemRuntime, after };
  await using _connection = await connectSsh(
    optionsFor(sshd, { hostKeys: { files: file.files, askHostKey }, runtime }),
  );
  expect(await runningWhenAsked.promise).toBe(0);
});

test("accept-new appends the key on a line of its own and leaves the rest alone", async () => {
  const before = "# a comment\nelsewhere ssh-ed25519 broken\nlast line without an end";
  await using file = await fileWith(before);
  await visit({ files: file.files, policy: "accept-new" });
  await visit({ files: file.files, policy: "accept-new" });
  expect(await file.text()).toBe(`${before}\n${known}`);
});

test("a pinned fingerprint is accepted whatever the files say, and not remembered", async () => {
  await using file = await fileWith(
    `[127.0.0.1]:${sshd.port} ${await readFile(join(sshd.directory, "user.pub"), "utf8")}`,
  );
  const before = await file.text();
  await visit({ files: file.files, fingerprint: sshd.hostKeyFingerprint });
  expect(await file.text()).toBe(before);
});

test("another key than the pinned one is refused although it is known", async () => {
  await expect(visit({ fingerprint: "SHA256:AAAA" })).rejects.toMatchObject({
    code: "host-key-changed",
    details: { fingerprint: sshd.hostKeyFingerprint, expected: "SHA256:AAAA" },
  });
});

test("a known_hosts that is no file is an error that names it", async () => {
  await using directory = await temporaryDirectory();
  const files = { read: [directory.path], append: directory.path };
  await expect(visit({ files })).rejects.toMatchObject({
    code: "state-unreadable",
    message: expect.stringContaining(directory.path),
  });
});

test("a key that cannot be remembered is not accepted as new", async () => {
  await using file = await fileWith("");
  await using directory = await temporaryDirectory();
  const files = { read: [file.path], append: directory.path };
  await expect(visit({ files, policy: "accept-new" })).rejects.toMatchObject({
    code: "state-unwritable",
    message: expect.stringContaining(directory.path),
  });
});

test("the files are those of OpenSSH, or the one that was named", async () => {
  expect(knownHostsFiles("/home/me")).toEqual({
    read: [
      "/home/me/.ssh/known_hosts",
      "/home/me/.ssh/known_hosts2",
      "/etc/ssh/ssh_known_hosts",
      "/etc/ssh/ssh_known_hosts2",
    ],
    append: "/home/me/.ssh/known_hosts",
  });
  expect(knownHostsFiles("/home/me", "/elsewhere")).toEqual({ read: ["/elsewhere"], append: "/elsewhere" });
});

test("the types that are known come first, and SHA-1 never", () => {
  expect(algorithmsFor([])[0]).toBe("ssh-ed25519");
  expect(algorithmsFor(["ssh-rsa"]).slice(0, 3)).toEqual(["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
  expect(algorithmsFor(["ecdsa-sha2-nistp384", "ssh-dss"])[0]).toBe("ecdsa-sha2-nistp384");
  expect(algorithmsFor(["ssh-rsa"])).not.toContain("ssh-rsa");
});
