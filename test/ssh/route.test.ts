/** The way to a destination: flags before the configuration before defaults, and which servers lie between. */
import { describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import { parseDestination } from "../../src/ssh/destination.ts";
import { planRoute } from "../../src/ssh/route.ts";
import type { GivenSsh } from "../../src/ssh/route.ts";
import { parseConfig } from "../../src/ssh/ssh-config-syntax.ts";

const env = { SSH_AUTH_SOCK: "/run/agent", OTHER_AGENT: "/run/other" };
const local = { home: "/home/me", user: "me", uid: 1000, hostName: "desk.example", env };

function plan(text: string, destination = "ab", given: GivenSsh = {}) {
  const config = [{ path: "config", lines: parseConfig(text, "config") }];
  return planRoute(parseDestination(destination), { config, local, given }).ssh;
}

/** `user@host:port` of every server on the way. */
function way(text: string, destination?: string, given?: GivenSsh): string[] {
  const ssh = plan(text, destination, given);
  return [...(ssh.jumps ?? []), ssh].map(({ user, host, port = 22 }) => `${user}@${host}:${port}`);
}

describe("the servers on the way", () => {
  const bastions = "Host b\n HostName b.example\n User door\n Port 2022\nHost c\n ProxyJump b\n";
  test.each<[name: string, config: string, destination: string, jump: string | undefined, want: string[]]>([
    ["none", "", "ab", undefined, ["me@ab:22"]],
    [
      "one of the configuration",
      `Host ab\n ProxyJump b\n${bastions}`,
      "ab",
      undefined,
      ["door@b.example:2022", "me@ab:22"],
    ],
    ["one of the command line", bastions, "ab", "b", ["door@b.example:2022", "me@ab:22"]],
    [
      "the command line's before the configuration's",
      "Host ab\n ProxyJump x\n",
      "ab",
      "you@y:1",
      ["you@y:1", "me@ab:22"],
    ],
    ["none, as the command line says", "ProxyJump x\n", "ab", "none", ["me@ab:22"]],
    [
      "none, as the configuration says",
      "Host ab\n ProxyJump none\nHost *\n ProxyJump x\n",
      "ab",
      undefined,
      ["me@ab:22"],
    ],
    [
      "several, in order",
      bastions,
      "u@ab:23",
      "x,ssh://y@z:9,b",
      ["me@x:22", "y@z:9", "door@b.example:2022", "u@ab:23"],
    ],
    ["those of the first one first", bastions, "ab", "c,x", ["door@b.example:2022", "me@c:22", "me@x:22", "me@ab:22"]],
    ["of a later one only what the chain says", bastions, "ab", "x,c", ["me@x:22", "me@c:22", "me@ab:22"]],
    ["an IPv6 address", "", "ab", "[::1]:2022", ["me@::1:2022", "me@ab:22"]],
    ["a command that the command line replaces", "ProxyCommand nc %h %p\n", "ab", "none", ["me@ab:22"]],
    ["a command of none", "ProxyCommand none\n", "ab", undefined, ["me@ab:22"]],
  ])("are %s", (_name, config, destination, jump, want) => {
    expect(way(config, destination, jump === undefined ? {} : { jump })).toEqual(want);
  });

  test("that lead in circles are an error that says how to end it", () => {
    expect(() => way("Host *\n ProxyJump b\n")).toThrow(
      expect.objectContaining({
        code: "usage",
        message: "the jump hosts lead in a circle: b <- b <- ab",
        hint: "leave it out of the block that sets ProxyJump, as in: Host * !b",
      }),
    );
    expect(() => way("Host b\n ProxyJump c\nHost c\n ProxyJump b\n", "b")).toThrow("b <- c <- b");
  });

  test("that cannot be read are named", () => {
    expect(() => way("", "ab", { jump: "x,y:many" })).toThrow(/^in the jump hosts "x,y:many": the port of "y:many"/);
  });

  test.each([
    ["ssh -W %h:%p bastion", 'write "ProxyJump bastion" in its place, or give -J bastion'],
    ["/usr/bin/ssh me@bastion -W [%h]:%p", 'write "ProxyJump me@bastion" in its place, or give -J me@bastion'],
    ["nc -x proxy:1080 %h %p", "use ProxyJump, or -J on the command line"],
  ])("are never found by running a program: %s", (command, hint) => {
    expect(() => way(`Host ab\n ProxyCommand ${command}\n`)).toThrow(
      expect.objectContaining({
        code: "usage",
        message: "config:2: ProxyCommand is not supported: no program is run from a configuration file",
        hint,
      }),
    );
  });
});

describe("what is given", () => {
  test("beats the configuration", () => {
    const given = {
      knownHosts: "/given",
      hostKeyPolicy: "strict",
      keepaliveMs: 1_000,
      identityFiles: ["/key"],
    } as const satisfies GivenSsh;
    const config =
      "User x\nPort 1\nUserKnownHostsFile /theirs\nStrictHostKeyChecking accept-new\nServerAliveInterval 9\nIdentityFile ~/own\n";
    const ssh = plan(config, "y@ab:2", given);
    expect(ssh).toMatchObject({ user: "y", port: 2, keepaliveMs: 1_000 });
    expect(ssh.hostKeys).toMatchObject({ policy: "strict", files: { read: ["/given"], append: "/given" } });
    expect(ssh.credentials.options).toMatchObject({ identityFiles: ["/key"], configuredFiles: ["/home/me/own"] });
  });

  test("of a password and a fingerprint is for the destination alone, keys and their passphrase for all", () => {
    const [password, passphrase] = [new Secret("word"), new Secret("phrase")];
    const given = {
      jump: "b",
      password,
      passphrase,
      fingerprint: "SHA256:x",
      identityFiles: ["/key"],
      knownHosts: "/known",
    };
    const { jumps: [jump] = [], ...ssh } = plan("", "ab", given);
    expect(ssh.hostKeys.fingerprint).toBe("SHA256:x");
    expect(ssh.credentials.options).toMatchObject({ password, passphrase });
    expect(jump?.hostKeys).not.toHaveProperty("fingerprint");
    expect(jump?.hostKeys.files).toEqual({ read: ["/known"], append: "/known" });
    expect(jump?.credentials.options).not.toHaveProperty("password");
    expect(jump?.credentials.options).toMatchObject({ passphrase, identityFiles: ["/key"] });
  });
});

describe("the configuration", () => {
  test("says where to go, how long to wait and what to try", () => {
    const ssh = plan(
      "HostName real\nUser you\nPort 5\nAddressFamily inet6\nServerAliveInterval 3\nConnectTimeout 7\nIdentitiesOnly yes\n" +
        "IdentityFile ~/%r_%h\nCertificateFile ~/c\nPreferredAuthentications password,hostbased,publickey,keyboard-interactive\nKbdInteractiveAuthentication no\n",
    );
    expect(ssh).toMatchObject({
      host: "real",
      user: "you",
      port: 5,
      family: 6,
      keepaliveMs: 3_000,
      readyTimeoutMs: 7_000,
    });
    expect(ssh.credentials.options).toMatchObject({
      configuredFiles: ["/home/me/you_real"],
      certificateFiles: ["/home/me/c"],
      identitiesOnly: true,
      methods: ["password", "publickey"],
    });
  });

  test("of nothing leaves the defaults", () => {
    const ssh = plan("");
    expect(ssh).toMatchObject({ host: "ab", user: "me" });
    for (const key of ["port", "family", "keepaliveMs", "readyTimeoutMs", "jumps"]) expect(ssh).not.toHaveProperty(key);
    expect(ssh.hostKeys).toEqual({
      files: {
        read: [
          "/home/me/.ssh/known_hosts",
          "/home/me/.ssh/known_hosts2",
          "/etc/ssh/ssh_known_hosts",
          "/etc/ssh/ssh_known_hosts2",
        ],
        append: "/home/me/.ssh/known_hosts",
      },
      policy: "strict",
      askHostKey: undefined,
    });
    expect(ssh.credentials.options).toMatchObject({ home: "/home/me", agentSocket: "/run/agent" });
    expect(ssh.credentials.options).not.toHaveProperty("configuredFiles");
  });

  test("with an interval of 0 leaves the keepalive on", () => {
    expect(plan("ServerAliveInterval 0\nConnectTimeout 0\n")).not.toHaveProperty("keepaliveMs");
  });

  test.each([
    ["IdentityAgent none", undefined],
    ["IdentityAgent SSH_AUTH_SOCK", "/run/agent"],
    ["IdentityAgent $OTHER_AGENT", "/run/other"],
    ["IdentityAgent ~/a_%u", "/home/me/a_me"],
    ["IdentityAgent ${OTHER_AGENT}.%i", "/run/other.1000"],
  ])("names the agent: %s", (line, want) => {
    expect(plan(`${line}\n`).credentials.options.agentSocket).toBe(want);
  });

  test.each([
    [
      "UserKnownHostsFile ~/a ~/b",
      ["/home/me/a", "/home/me/b", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"],
      "/home/me/a",
    ],
    ["UserKnownHostsFile none\nGlobalKnownHostsFile /e", ["/e"], undefined],
    ["UserKnownHostsFile /a\nGlobalKnownHostsFile none", ["/a"], "/a"],
  ])("names the known_hosts files: %s", (lines, read, append) => {
    expect(plan(`${lines}\n`).hostKeys.files).toEqual({ read, ...(append !== undefined && { append }) });
  });

  test.each<[line: string, policy: string, isAsked: boolean]>([
    ["StrictHostKeyChecking yes", "strict", false],
    ["StrictHostKeyChecking ask", "strict", true],
    ["StrictHostKeyChecking accept-new", "accept-new", true],
    // A changed key is refused all the same.
    ["StrictHostKeyChecking no", "accept-new", true],
    ["StrictHostKeyChecking off", "accept-new", true],
    ["BatchMode yes", "strict", false],
  ])("decides about unknown hosts: %s", (line, policy, isAsked) => {
    const { hostKeys } = plan(`${line}\n`, "ab", { askHostKey: async () => true });
    expect(hostKeys.policy).toBe(policy);
    expect(hostKeys.askHostKey !== undefined).toBe(isAsked);
  });

  test("forbids every question with BatchMode", () => {
    const given = { askPassphrase: async () => undefined, askAnswer: async () => undefined };
    expect(plan("", "ab", given).credentials.options).toMatchObject(given);
    expect(plan("BatchMode yes\n", "ab", given).credentials.options).not.toMatchObject({
      askAnswer: expect.anything(),
    });
  });

  test("with RevokedHostKeys is refused, since a key in that list would be trusted", () => {
    expect(() => plan("\nRevokedHostKeys /etc/revoked\n")).toThrow(
      expect.objectContaining({ code: "usage", message: "config:2: RevokedHostKeys is not supported" }),
    );
  });

  test("with a token or a variable that is not known is refused", () => {
    expect(() => plan("IdentityFile ~/%q\n")).toThrow('%q in the SSH configuration\'s "~/%q" is not a token');
    expect(() => plan("IdentityFile ${NOWHERE}/x\n")).toThrow(
      '${NOWHERE} in the SSH configuration\'s "${NOWHERE}/x" is not set',
    );
  });
});
