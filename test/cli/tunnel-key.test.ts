/** `tunnel key`: a line for exactly these forwards, and attempts on a real server that prove it. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { at, listAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { runTool, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";

let sshd: Sshd;
beforeAll(async () => {
  // Without this user's start-up files, which may take their time on the machine that runs this.
  sshd = await startSshd({ config: ["SetEnv SHLVL=5 HOME=/nonexistent"] });
});
afterAll(async () => sshd[Symbol.asyncDispose]());

const authorize = (line: string) => writeFileSync(join(sshd.directory, "authorized_keys"), `${line}\n`);
const destination = () => `${sshd.user}@127.0.0.1:${sshd.port} --known-hosts ${sshd.knownHostsFile}`;
const forwards = "-R 18790:127.0.0.1:18789";

test("makes a key of its own once, private, and prints nothing but the line", async () => {
  using home = new CliHome();
  const first = await home.run(`tunnel key ${forwards}`);
  expect(first).toMatchObject({ code: 0 });
  expect(first.stdout).toMatch(
    /^restrict,port-forwarding,command="false",permitlisten="127\.0\.0\.1:18790",permitopen="NOWHERE\.INVALID:1" ssh-ed25519 [\w+/=]+ openclaw-tunnel\n$/u,
  );
  const path = join(home.toolkitDir, "identity", "tunnel_ed25519");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(first.stderr).toContain(path);
  const second = await home.run(`tunnel key ${forwards} --json`);
  expect(second.json).toMatchObject({ ok: true, line: first.stdout.trim(), identityFile: path, created: false });
  expect(await runTool("ssh-keygen", "-l", "-f", path)).toContain(String(at(second.json, "fingerprint")));
  const secret = readFileSync(path, "utf8").split("\n")[2] ?? "";
  for (const { stdout, stderr } of [first, second]) expect(stdout + stderr).not.toContain(secret);
});

test("writes a new key where it is told, and never over a file", async () => {
  using home = new CliHome();
  const out = home.path("keys", "cloud");
  expect(await home.run(`tunnel key ${forwards} --out ${out} --json`)).toMatchObject({
    code: 0,
    json: { created: true },
  });
  const before = readFileSync(out, "utf8");
  const again = await home.run(`tunnel key ${forwards} --out ${out} --json`);
  expect(again).toMatchObject({ code: 9, json: { error: { code: "conflict" } } });
  expect(readFileSync(out, "utf8")).toBe(before);
});

test.each([
  ["ed25519", ""],
  ["rsa", "-m PEM"],
  ["ecdsa", ""],
])("takes an existing %s key with -i %s, also a locked one", async (type, form) => {
  using home = new CliHome();
  const key = home.path("key");
  const words = form === "" ? [] : form.split(" ");
  await runTool("ssh-keygen", "-q", "-t", type, ...words, "-N", "correct horse", "-C", "me", "-f", key);
  const blob = readFileSync(`${key}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
  const { code, stdout } = await home.run(`tunnel key ${forwards} -i ${key} --passphrase-file -`, {
    stdin: "correct horse\n",
  });
  expect([code, stdout]).toEqual([0, expect.stringContaining(` ${blob} `)]);
});

test("allows the check's own way only when asked", async () => {
  using home = new CliHome();
  const { stdout } = await home.run(`tunnel key ${forwards} -L 1:db.internal:5432 --allow-check`);
  expect(stdout).toContain('permitopen="db.internal:5432",permitopen="127.0.0.1:18790"');
});

test.each([
  ["no forward", "tunnel key"],
  ["a port that the server chooses", "tunnel key -R 0:127.0.0.1:1"],
  ["a test without a server", `tunnel key ${forwards} --test`],
  ["a test of a key that is not there", `tunnel key me@127.0.0.1 ${forwards} --test`],
  ["two keys", `tunnel key ${forwards} -i a -i b`],
  ["a named key and a new one", `tunnel key ${forwards} -i a --out b`],
  ["a key that is not there", `tunnel key ${forwards} -i /nonexistent/key`],
])("%s is a usage error, and makes no key", async (_name, line) => {
  using home = new CliHome();
  expect(await home.run(`${line} --json`)).toMatchObject({ code: 2, json: { ok: false, error: { code: "usage" } } });
  expect(() => statSync(join(home.toolkitDir, "identity", "tunnel_ed25519"))).toThrow("ENOENT");
});

describe("--test", () => {
  test("proves the line that was put in place, and tells each attempt", async () => {
    using home = new CliHome();
    const { stdout: line } = await home.run(`tunnel key ${forwards} --allow-check`);
    authorize(line.trim());
    const proof = await home.run(`tunnel key ${destination()} ${forwards} --allow-check --test --json`);
    expect(proof).toMatchObject({ code: 0, json: { ok: true, created: false, line: line.trim() } });
    const attempts = listAt(proof.json, "attempts");
    for (const attempt of attempts) {
      expect(attempt).toMatchObject({
        attempt: expect.any(String),
        expected: expect.stringMatching(/^(?:granted|refused|either)$/u),
        got: expect.stringMatching(/^(?:granted|refused|unknown)$/u),
        ok: true,
      });
    }
    expect(attempts.map((row) => at(row, "attempt"))).toEqual(
      expect.arrayContaining(["a shell", "agent forwarding", "listening on another port", "X11 forwarding"]),
    );
    const table = await home.run(`tunnel key ${destination()} ${forwards} --allow-check --test`);
    expect(table).toMatchObject({ code: 0, stdout: expect.stringMatching(/a shell +refused +refused +yes/u) });
  });

  test("finds that a line is too wide, with exit code 8", async () => {
    using home = new CliHome();
    const { stdout: line } = await home.run(`tunnel key ${forwards}`);
    authorize(line.trim().replace('command="false",', ""));
    const found = await home.run(`tunnel key ${destination()} ${forwards} --test --json`);
    expect(found).toMatchObject({ code: 8, json: { ok: false, error: { code: "ssh-forward" } } });
    const attempts = listAt(at(at(found.json, "error"), "details"), "attempts");
    const wrong = attempts.filter((row) => at(row, "ok") === false).map((row) => at(row, "attempt"));
    expect(wrong).toEqual(expect.arrayContaining(["a shell", "a command"]));
    const shown = await home.run(`tunnel key ${destination()} ${forwards} --test`);
    expect(shown.stdout).toMatch(/a shell +refused +granted +no/u);
    expect(shown.stderr).toContain("a shell is granted");
  });

  test("tries this key alone: another one that is let in does not help", async () => {
    using home = new CliHome();
    await home.run(`tunnel key ${forwards}`);
    authorize(readFileSync(join(sshd.directory, "user.pub"), "utf8").trim());
    const { code, stdout } = await home.run(`tunnel key ${destination()} ${forwards} --test --json`);
    expect([code, stdout]).toEqual([8, expect.stringContaining('"code":"ssh-auth"')]);
  });
});
