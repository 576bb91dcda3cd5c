/** A line of `authorized_keys` for exactly these forwards, and attempts that prove it, against OpenSSH's own server. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { authorizedKeyLine } from "../../src/tunnel/authorized-key.ts";
import type { KeyRestriction } from "../../src/tunnel/authorized-key.ts";
import { tryKey } from "../../src/tunnel/key-trial.ts";
import type { KeyAttempt } from "../../src/tunnel/key-trial.ts";
import { generateSshKey } from "../../src/ssh/ssh-key.ts";
import { startSshd, freePort } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { exchange, startEcho } from "./tcp.ts";
import { local, optionsFor, remote, watchTunnel } from "./world.ts";

const key = generateSshKey("somebody");
const blob = Buffer.from(key.publicKey.split(" ")[1] ?? "", "base64");
const bare = key.publicKey;
const line = (restriction: KeyRestriction) => authorizedKeyLine(blob, restriction, "openclaw tunnel");

describe("the line", () => {
  test.each<[name: string, restriction: KeyRestriction, options: string]>([
    [
      "only -R: nothing may be dialled",
      { forwards: [remote("18790:127.0.0.1:18789")] },
      'restrict,port-forwarding,command="false",permitlisten="127.0.0.1:18790",permitopen="NOWHERE.INVALID:1"',
    ],
    [
      "only -R, with its check",
      { forwards: [remote("*:18790:127.0.0.1:18789")], allowCheck: true },
      'restrict,port-forwarding,command="false",permitlisten="*:18790",permitopen="127.0.0.1:18790"',
    ],
    [
      "only -L: nothing may listen",
      { forwards: [local("18790:[::1]:18789")], allowCheck: true },
      'restrict,port-forwarding,command="false",permitlisten="NOWHERE.INVALID:1",permitopen="[::1]:18789"',
    ],
    [
      "both, each named once",
      { forwards: [remote("1:h:1"), remote("[::1]:2:h:1"), local("3:a:4"), local("5:a:4")] },
      'restrict,port-forwarding,command="false",permitlisten="127.0.0.1:1",permitlisten="[::1]:2",permitopen="a:4"',
    ],
    [
      "a unix socket has no name of its own",
      { forwards: [local("3:/run/a.sock")] },
      'restrict,port-forwarding,command="false",permitlisten="NOWHERE.INVALID:1",permitopen="NOWHERE.INVALID:1"',
    ],
  ])("%s", (_name, restriction, options) => {
    expect(line(restriction)).toBe(`${options} ssh-ed25519 ${blob.toString("base64")} openclaw tunnel`);
  });

  test("cannot be made for a port that the server chooses", () => {
    expect(() => line({ forwards: [remote("0:127.0.0.1:1")] })).toThrow(expect.objectContaining({ code: "usage" }));
  });

  test("quotes what would end the option", () => {
    const odd = {
      direction: "local",
      bind: "127.0.0.1",
      port: 1,
      target: { type: "tcp", host: 'a"b', port: 2 },
    } as const;
    expect(line({ forwards: [odd] })).toContain(String.raw`permitopen="a\"b:2"`);
  });
});

describe("at a server that would allow everything", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    // Without this user's start-up files, which may take their time on the machine that runs this.
    sshd = await startSshd({
      config: [
        "SetEnv SHLVL=5 HOME=/nonexistent",
        "X11Forwarding yes",
        "XAuthLocation /bin/true",
        "Subsystem sftp internal-sftp",
      ],
    });
    await writeFile(join(sshd.directory, "restricted"), key.privateKey.reveal(), { mode: 0o600 });
  });
  afterAll(async () => sshd[Symbol.asyncDispose]());

  const sshOptions = () =>
    optionsFor(sshd, { credentials: { identityFiles: [join(sshd.directory, "restricted")], identitiesOnly: true } });

  /** What the attempts find when this line is the only one. */
  async function attempts(authorized: string, restriction: KeyRestriction): Promise<readonly KeyAttempt[]> {
    await writeFile(join(sshd.directory, "authorized_keys"), `${authorized}\n`);
    return tryKey({ ssh: sshOptions(), ...restriction });
  }

  const failed = (rows: readonly KeyAttempt[]) => rows.filter(({ ok }) => !ok).map(({ attempt }) => attempt);

  test.each<[name: string, make: (port: number, target: number) => KeyRestriction]>([
    ["only -R", (port) => ({ forwards: [remote(`${port}:127.0.0.1:1`)] })],
    ["only -R, with its check", (port) => ({ forwards: [remote(`${port}:127.0.0.1:1`)], allowCheck: true })],
    ["only -L", (_port, target) => ({ forwards: [local(`0:127.0.0.1:${target}`)] })],
    ["-L to a target that is down", (port) => ({ forwards: [local(`0:127.0.0.1:${port}`)] })],
    ["-R on every address", (port) => ({ forwards: [remote(`*:${port}:127.0.0.1:1`)] })],
    [
      "several of both",
      (port, target) => ({
        forwards: [remote(`${port}:127.0.0.1:1`), remote(`[::1]:${port}:h:2`), local(`0:127.0.0.1:${target}`)],
      }),
    ],
  ])("the line for %s grants these and nothing else", async (_name, make) => {
    await using target = await startEcho();
    const restriction = make(await freePort(), target.port);
    const rows = await attempts(line(restriction), restriction);
    expect(failed(rows)).toEqual([]);
    expect(rows.map(({ got }) => got)).toContain("granted");
    expect(rows.map(({ attempt }) => attempt)).toEqual(
      expect.arrayContaining(["a shell", "a command", "agent forwarding", "listening on another port"]),
    );
    expect(target.accepted()).toBeLessThanOrEqual(1);
  });

  test("a tunnel with that line works, and is checked", async () => {
    await using echo = await startEcho();
    const port = await freePort();
    const restriction = { forwards: [remote(`${port}:127.0.0.1:${echo.port}`)], allowCheck: true };
    await writeFile(join(sshd.directory, "authorized_keys"), `${line(restriction)}\n`);
    await using watched = await watchTunnel({ ssh: sshOptions(), forwards: restriction.forwards });
    expect((await exchange(port, "through a restricted key")).toString()).toBe("through a restricted key");
    expect(await watched.tunnel.check()).toMatchObject([{ ok: true }]);
  });

  const everySession = [
    "a shell",
    "a command",
    "file transfer (sftp)",
    "a terminal (pty)",
    "agent forwarding",
    "X11 forwarding",
  ];

  test.each<[name: string, options: (port: number) => string, holes: (port: number) => string[]]>([
    [
      "no restriction at all",
      () => "",
      (port) => [
        ...everySession,
        `listening on port ${port} of every address`,
        "listening on another port",
        "listening on any free port",
        "another target",
      ],
    ],
    [
      "no forced command",
      (port) => `restrict,port-forwarding,permitlisten="127.0.0.1:${port}",permitopen="NOWHERE.INVALID:1" `,
      () => ["a shell", "a command", "file transfer (sftp)"],
    ],
    [
      "a forced command that is a shell",
      (port) =>
        `restrict,port-forwarding,command="sh",permitlisten="127.0.0.1:${port}",permitopen="NOWHERE.INVALID:1" `,
      () => ["a shell", "a command"],
    ],
    [
      "a forced command that is file transfer",
      (port) => `restrict,port-forwarding,command="internal-sftp",permitlisten="127.0.0.1:${port}",permitopen="a:1" `,
      () => ["file transfer (sftp)"],
    ],
    [
      "no permitopen",
      (port) => `restrict,port-forwarding,command="false",permitlisten="127.0.0.1:${port}" `,
      () => ["another target"],
    ],
    [
      "any listening address",
      (port) => `restrict,port-forwarding,command="false",permitlisten="${port}",permitopen="NOWHERE.INVALID:1" `,
      (port) => [`listening on port ${port} of every address`],
    ],
    [
      "any listening port",
      () => 'restrict,port-forwarding,command="false",permitlisten="127.0.0.1:*",permitopen="NOWHERE.INVALID:1" ',
      () => ["listening on another port", "listening on any free port"],
    ],
    [
      "its own port may be dialled",
      (port) =>
        `restrict,port-forwarding,command="false",permitlisten="127.0.0.1:${port}",permitopen="127.0.0.1:${port}" `,
      () => ["another target"],
    ],
    [
      "a terminal, an agent and X11 on top",
      (port) =>
        `restrict,pty,agent-forwarding,X11-forwarding,port-forwarding,command="false",permitlisten="127.0.0.1:${port}",permitopen="a:1" `,
      () => ["a terminal (pty)", "agent forwarding", "X11 forwarding"],
    ],
    [
      "another port than the forward's",
      (port) => `restrict,port-forwarding,command="false",permitlisten="127.0.0.1:${port - 1}",permitopen="a:1" `,
      (port) => [`-R 127.0.0.1:${port}:127.0.0.1:1`],
    ],
  ])("a line with %s is found out", async (_name, options, holes) => {
    const port = await freePort();
    const rows = await attempts(`${options(port)}${bare}`, { forwards: [remote(`${port}:127.0.0.1:1`)] });
    expect(rows.filter(({ expected, got }) => expected !== "either" && got === "unknown")).toEqual([]);
    const found = failed(rows).map((attempt) => attempt.replace(/ \(\d+ tried\)$/, ""));
    expect(found.toSorted()).toEqual(holes(port).toSorted());
  });

  test("none in the place of an address lets nobody in, which is why the line does not say it", async () => {
    const attempt = attempts(`restrict,port-forwarding,permitopen="none" ${bare}`, { forwards: [] });
    await expect(attempt).rejects.toMatchObject({ code: "ssh-auth" });
  });

  test("nobody can listen on the address that stands for none, not even root", async () => {
    const port = await freePort();
    const authorized = line({ forwards: [local("0:127.0.0.1:1")] });
    for (const name of ["NOWHERE.INVALID", "nowhere.invalid"]) {
      const rows = await attempts(authorized, { forwards: [remote(`${name}:1:127.0.0.1:${port}`)] });
      expect(rows[0]).toMatchObject({ expected: "granted", got: "refused", ok: false });
    }
  });

  test("being asked to stop ends it", async () => {
    const stop = AbortSignal.abort(new Error("enough"));
    await expect(tryKey({ ssh: sshOptions(), forwards: [], signal: stop })).rejects.toThrow("enough");
  });
});
