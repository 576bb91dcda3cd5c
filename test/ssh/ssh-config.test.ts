/** What we read out of an ssh_config, held against what OpenSSH itself says of it (`ssh -G`). */
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isFailure, OpenClawError } from "../../src/errors.ts";
import { settingsFor } from "../../src/ssh/ssh-config.ts";
import type { HostConfig } from "../../src/ssh/ssh-config.ts";
import { readSshConfig } from "../../src/ssh/ssh-config-file.ts";
import { parseConfig } from "../../src/ssh/ssh-config-syntax.ts";
import { expandPath } from "../../src/ssh/ssh-config-tokens.ts";
import { runTool } from "../support/sshd.ts";
import { temporaryDirectory } from "../tunnel/world.ts";

const localUser = userInfo().username;
const local = {
  home: userInfo().homedir,
  user: localUser,
  uid: userInfo().uid,
  hostName: hostname(),
  env: process.env,
};

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let written = 0;
beforeAll(async () => (directory = await temporaryDirectory()));
afterAll(async () => directory[Symbol.asyncDispose]());

async function writeConfig(text: string): Promise<string> {
  const path = join(directory.path, `config-${written++}`);
  await writeFile(path, text);
  return path;
}

/** The settings that both know, as OpenSSH prints them; undefined when it refuses the file. */
async function openSshSays(path: string, destination: string): Promise<string[] | undefined> {
  const printed = await runTool("ssh", "-G", "-F", path, destination).catch(() => undefined);
  if (printed === undefined) return undefined;
  // Without an entry it prints its long list of defaults, which we do not share.
  const ownDefaults = /^identityfile ~\/\.ssh\/id_(?!mine)/;
  return (
    printed
      .trim()
      .split("\n")
      .filter((line) => comparedKeywords.has(line.split(" ")[0] ?? "") && !ownDefaults.test(line))
      // Debian's OpenSSH has a keepalive of its own for BatchMode. Names are the same in capitals.
      .map((line) => (line === "serveraliveinterval 300" ? "serveraliveinterval 0" : line))
      .map((line) => (line.startsWith("hostname ") ? line.toLowerCase() : line))
      .toSorted()
  );
}

const comparedKeywords = new Set([
  "addressfamily",
  "batchmode",
  "connecttimeout",
  "globalknownhostsfile",
  "hashknownhosts",
  "hostkeyalias",
  "hostname",
  "identitiesonly",
  "identityfile",
  "port",
  "proxycommand",
  "proxyjump",
  "serveraliveinterval",
  "stricthostkeychecking",
  "user",
  "userknownhostsfile",
]);

/** The same lines out of what we read. */
async function weSay(path: string, destination: string): Promise<string[] | undefined> {
  const [host = "", user] = destination.split("@").toReversed();
  let config: HostConfig;
  try {
    const files = await readSshConfig({ home: local.home, file: path });
    config = settingsFor(files, { host, localUser, ...(user === undefined ? {} : { user }) });
  } catch (error) {
    if (error instanceof OpenClawError && error.code === "usage") return undefined;
    throw error;
  }
  const yesNo = (value = false) => (value ? "yes" : "no");
  const paths = (given: readonly string[] | undefined, usual: readonly string[]) =>
    (given ?? usual).map((one) => expandPath(one, config, local)).join(" ");
  const family = { any: "any", 4: "inet", 6: "inet6" }[config.family ?? "any"];
  const strictness = { yes: "true", ask: "ask", "accept-new": "accept-new" }[config.strictHostKeyChecking ?? "ask"];
  const { jump = "none", command } = config.proxy ?? {};
  return [
    `addressfamily ${family}`,
    `batchmode ${yesNo(config.batchMode)}`,
    `connecttimeout ${config.connectTimeoutMs === undefined ? "none" : config.connectTimeoutMs / 1000}`,
    `globalknownhostsfile ${paths(config.globalKnownHostsFiles, ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"])}`,
    `hashknownhosts ${yesNo(config.hashKnownHosts)}`,
    ...(config.hostKeyAlias === undefined ? [] : [`hostkeyalias ${config.hostKeyAlias}`]),
    `hostname ${config.hostName}`,
    `identitiesonly ${yesNo(config.identitiesOnly)}`,
    ...(config.identityFiles ?? []).map((file) => `identityfile ${file}`),
    `port ${config.port ?? 22}`,
    ...(command === undefined || command.value === "none" ? [] : [`proxycommand ${command.value}`]),
    ...(jump === "none" ? [] : [`proxyjump ${jump}`]),
    `serveraliveinterval ${(config.serverAliveIntervalMs ?? 0) / 1000}`,
    `stricthostkeychecking ${strictness}`,
    `user ${config.user}`,
    `userknownhostsfile ${paths(config.userKnownHostsFiles, ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"])}`,
  ].toSorted();
}

/** What OpenSSH and we say differently about a destination, OpenSSH's words first. */
async function disagreement(text: string, destination: string): Promise<readonly string[]> {
  const path = await writeConfig(text);
  const refused = ["refuses it"];
  const [theirs, ours] = [
    (await openSshSays(path, destination)) ?? refused,
    (await weSay(path, destination)) ?? refused,
  ];
  const only = (some: readonly string[], others: readonly string[]) => some.filter((line) => !others.includes(line));
  return [...only(theirs, ours).map((line) => `ssh: ${line}`), ...only(ours, theirs).map((line) => `we: ${line}`)];
}

describe("OpenSSH agrees about", () => {
  test.each([
    ["Host patterns", "Host a* !ab\n Port 1\nHost ab c?\n Port 2\nHost *\n Port 3\n"],
    ["a Host line of negations only", "Host !ab\n Port 1\n"],
    ["the first value", "Port 1\nPort 2\nHost *\nPort 3\n"],
    ["blanks, tabs, equals signs and case", "\tpOrT = 7\nUSER=me\n  HostName=\treal\n"],
    ["comments", "# Port 1\n\n   # Port 2\nHost * # all\nPort 3 # three\nUser a#b\n"],
    ["quotes", `User "a b"\nIdentityFile "~/my key"\nHostName 'single'\n`],
    ["escapes", String.raw`IdentityFile ~/my\ key` + "\n" + String.raw`User "a\"b\\c\d"` + "\n"],
    ["carriage returns", "Port 1\r\nUser me\r\n"],
    ["tokens of HostName", "HostName %h.example.%%\n"],
    ["an unknown token of HostName", "HostName %n\n"],
    ["a HostName in capitals", "HostName EXAMPLE.Org\n"],
    ["HostName and Match host", "Host ab\n HostName real\nMatch host real\n Port 9\nHost real\n User nobody\n"],
    ["Match originalhost", "HostName real\nMatch originalhost ab,x\n Port 9\nMatch originalhost real\n User no\n"],
    ["Match with a list and negation", "Match host *,!ab\n Port 1\nMatch !host x,y user *\n Port 2\n"],
    [
      "Match user and localuser",
      `Match user ${localUser}\n Port 1\nMatch user me\n Port 2\nMatch localuser ${localUser}\n User x\n`,
    ],
    ["Match of a user set above", "User up\nMatch user up\n Port 5\n"],
    ["Match all", "Match all\n Port 4\n"],
    ["Match all with others", "Match all host ab\n Port 4\n"],
    ["Match final", "HostName real\nMatch final host real\n Port 4\nHost real\n User fin\n"],
    ["Match !final", "HostName real\nMatch !final\n Port 4\nHost real\n User fin\n"],
    ["Match final all", "Match final all\n Port 4\n"],
    ["Match canonical", "Match canonical\n Port 4\nHost *\n User x\n"],
    ["Match with equals signs and quotes", `Match host="ab" user=*\n Port 3\n`],
    ["Match without a condition", "Match\n Port 1\n"],
    ["Match with a condition that is not there", "Match host\n Port 1\n"],
    ["identity files", "IdentityFile ~/a_%r\nHost ab\n IdentityFile ~/b\n IdentityFile ~/a_%r\n IdentitiesOnly yes\n"],
    ["no identity file", "IdentityFile none\n"],
    [
      "several known_hosts files",
      "UserKnownHostsFile ~/a %d/b /c_%h_%p_%r_%u_%n_%k_%i_%L_%l_%C_%%\nGlobalKnownHostsFile /e /f\n",
    ],
    ["known_hosts by an environment variable", "UserKnownHostsFile ${HOME}/x\n"],
    ["no known_hosts beside others", "UserKnownHostsFile none ~/x\n"],
    ["HostKeyAlias", "HostKeyAlias Other\n"],
    ["StrictHostKeyChecking yes", "StrictHostKeyChecking YES\n"],
    ["StrictHostKeyChecking accept-new", "StrictHostKeyChecking accept-new\n"],
    ["StrictHostKeyChecking ask", "StrictHostKeyChecking ask\n"],
    ["a word StrictHostKeyChecking does not know", "StrictHostKeyChecking maybe\n"],
    ["AddressFamily", "AddressFamily inet6\n"],
    ["times", "ServerAliveInterval 1m30s\nConnectTimeout 2\n"],
    ["a time that is none", "ServerAliveInterval soon\n"],
    ["ProxyJump", "ProxyJump me@a:33,ssh://b:44,[::1]:55 # three\n"],
    ["no ProxyJump", "Host ab\n ProxyJump none\nHost *\n ProxyJump c\n"],
    ["ProxyJump before ProxyCommand", "ProxyJump a\nProxyCommand b %h\n"],
    ["ProxyCommand before ProxyJump", "ProxyCommand b %h # not a comment\nProxyJump a\n"],
    ["no ProxyCommand before ProxyJump", "ProxyCommand none\nProxyJump a\n"],
    ["no ProxyJump before ProxyCommand", "ProxyJump none\nProxyCommand a\n"],
    ["a keyword without an argument", "Port\n"],
    ["an argument too many", "Port 1 2\n"],
    ["a port that is none", "Host other\n Port 99999\n"],
    ["quotes that are not closed", `User "me\n`],
    ["a Host line without patterns", "Host\n"],
    ["an empty pattern", `Host ""\n Port 1\n`],
  ])("%s", async (_name, text) => {
    for (const destination of ["ab", "AB", "me@ab", "cd.example", "127.0.0.1", "::1"]) {
      expect(await disagreement(text, destination)).toEqual([]);
    }
  });

  test("configurations of every make", { timeout: 120_000 }, async () => {
    const name = fc.constantFrom("ab", "abc", "b", "real", "me", localUser);
    const pattern = fc.oneof(name, fc.constantFrom("*", "a*", "?b", "*b*", "re?l"));
    const signed = fc.tuple(fc.boolean(), pattern).map(([isNegated, text]) => (isNegated ? `!${text}` : text));
    const list = fc.array(signed, { minLength: 1, maxLength: 3 });
    const criterion = fc.oneof(
      fc
        .tuple(fc.constantFrom("", "!"), fc.constantFrom("host", "originalhost", "user", "localuser"), list)
        .map(([sign, word, patterns]) => `${sign}${word} ${patterns.join(",")}`),
      fc.constantFrom("final", "!final", "canonical"),
    );
    const line = fc.oneof(
      { weight: 3, arbitrary: list.map((patterns) => `Host ${patterns.join(" ")}`) },
      {
        weight: 3,
        arbitrary: fc.array(criterion, { minLength: 1, maxLength: 2 }).map((all) => `Match ${all.join(" ")}`),
      },
      { weight: 1, arbitrary: fc.constantFrom("Match all", "Match final all", "# nothing", "") },
      fc.integer({ min: 1, max: 9 }).map((port) => `Port ${port}`),
      name.map((user) => `User ${user}`),
      fc.constantFrom("HostName real", "HostName %h.b", "HostName REAL", "hostname=b"),
      name.map((file) => `IdentityFile ~/.ssh/id_mine_${file}`),
      fc.constantFrom(
        "IdentitiesOnly yes",
        "IdentitiesOnly no",
        "HostKeyAlias x",
        "BatchMode yes",
        "HashKnownHosts no",
      ),
      fc.constantFrom("ProxyJump a", "ProxyJump none", "ProxyCommand none", "ProxyCommand c %h", "ProxyJump b,c"),
      fc.constantFrom("UserKnownHostsFile ~/%h ~/%r", "UserKnownHostsFile none", "StrictHostKeyChecking yes"),
      fc.constantFrom("ServerAliveInterval 3", "ConnectTimeout 1m", "AddressFamily inet"),
    );
    const configs = fc.array(line, { minLength: 1, maxLength: 14 });
    const hosts = fc.constantFrom("ab", "abc", "b", "real", "me@ab", "AB");
    await fc.assert(
      fc.asyncProperty(configs, hosts, async (lines, destination) => {
        expect(await disagreement(`${lines.join("\n")}\n`, destination)).toEqual([]);
      }),
      { numRuns: 250 },
    );
  });
});

describe("Include", () => {
  test("takes files in their place, in order, and leaves the block as it found it", async () => {
    const place = join(directory.path, "conf.d");
    await mkdir(place);
    await writeFile(join(place, "10-a.conf"), "User first\nHost other\n Port 1\n");
    await writeFile(join(place, "20-b.conf"), "User second\nPort 2\n");
    await writeFile(join(place, ".hidden.conf"), "HostKeyAlias hidden\n");
    expect(await disagreement(`Include ${place}/*.conf ${place}/missing\nPort 3\n`, "ab")).toEqual([]);
    expect(await disagreement(`Host ab\n Include ${place}/*.conf\n HostName x\nHost *\n Port 4\n`, "ab")).toEqual([]);
    expect(await disagreement(`Host cd\n Include ${place}/*.conf\n HostName x\nHost *\n Port 4\n`, "ab")).toEqual([]);
    expect(await disagreement(`Host ab\n Include "${place}/10-a.conf" ${place}/20-b.conf\n`, "other")).toEqual([]);
  });

  test("is relative to ~/.ssh, and a person's file comes before the system's", async () => {
    await using home = await temporaryDirectory();
    await mkdir(join(home.path, ".ssh", "more"), { recursive: true });
    const files = {
      config: "Include more/* ~/elsewhere\nPort 3\n",
      "more/a": "User included\n",
      "../elsewhere": "HostName there\n",
    };
    for (const [name, text] of Object.entries(files))
      await writeFile(join(home.path, ".ssh", name), text, { mode: 0o600 });
    const read = settingsFor(await readSshConfig({ home: home.path }), { host: "ab", localUser });
    expect(read).toMatchObject({ user: "included", hostName: "there", port: 3 });
  });

  test("of itself ends with an error that names file and line", async () => {
    const path = join(directory.path, "circle");
    await writeFile(path, `Port 1\nInclude ${path}\n`);
    await expect(readSshConfig({ home: local.home, file: path })).rejects.toMatchObject({
      code: "usage",
      message: `${path}:2: files include one another without end`,
    });
  });
});

describe("the file", () => {
  test("that others can write is refused, unless it was named", async () => {
    await using home = await temporaryDirectory();
    const path = join(home.path, ".ssh", "config");
    await mkdir(join(home.path, ".ssh"));
    await writeFile(path, "Port 1\n");
    await chmod(path, 0o666);
    await expect(readSshConfig({ home: home.path })).rejects.toMatchObject({ code: "usage", fix: `chmod 600 ${path}` });
    await expect(readSshConfig({ home: home.path, file: path })).resolves.toHaveLength(1);
  });

  test("that was named must be there, and none is none", async () => {
    await expect(readSshConfig({ home: "/nonexistent", file: "/nonexistent/config" })).rejects.toMatchObject({
      code: "usage",
      message: "there is no SSH configuration /nonexistent/config",
    });
    await expect(readSshConfig({ home: local.home, file: "none" })).resolves.toEqual([]);
  });

  test.each([
    ["Port many\n", 'config:1: "many" is not a port'],
    ["\n\nUser\n", "config:3: user has no argument"],
    ['Host a\nUser "a\n', "config:2: a quote is not closed"],
    ["IdentitiesOnly perhaps\n", 'config:1: identitiesonly cannot be "perhaps"'],
    ["UserKnownHostsFile a none\n", 'config:1: "none" of userknownhostsfile must stand alone'],
    ["Match host\n", 'config:1: "host" of match has no argument'],
  ])("with a mistake is refused with file and line: %j", (text, message) => {
    const read = () => settingsFor([{ path: "config", lines: parseConfig(text, "config") }], { host: "h", localUser });
    expect(read).toThrow(expect.objectContaining({ code: "usage", message }));
  });

  test.each(["Match exec true\n Port 9\n", "Match !exec false\n Port 9\n", "Match tagged x\n Port 9\n"])(
    "runs nothing and leaves out what only that would tell: %j",
    (text) => {
      const read = settingsFor([{ path: "config", lines: parseConfig(text, "config") }], { host: "h", localUser });
      expect(read.port).toBeUndefined();
      expect(read.notes).toEqual([
        expect.stringMatching(/^config:1: "\w+" is not looked at, so the block is left out$/),
      ]);
    },
  );

  test.each([
    ["Match exec true host other\n Port 9\n", []],
    ["Host other\n Ciphers aes256-ctr\n", []],
    [
      "Host h\n Ciphers aes256-ctr\n",
      ["config:2: ciphers is not looked at: the algorithms are this tool's own choice"],
    ],
  ])("says what of it is not followed, where it would count: %j", (text, notes) => {
    const read = settingsFor([{ path: "config", lines: parseConfig(text, "config") }], { host: "h", localUser });
    expect(read.notes).toEqual(notes);
  });

  test("with whatever text it holds is read or refused, and nothing else", () => {
    const words = fc.constantFrom(
      "Host",
      "Match",
      "host",
      "all",
      "Port",
      "1",
      "=",
      '"',
      "'",
      "\\",
      "#",
      "!",
      "*",
      ",",
      "%",
      " ",
      "\n",
    );
    const texts = fc.oneof(
      fc.string(),
      fc.array(words).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const read = () =>
          settingsFor([{ path: "config", lines: parseConfig(text, "config") }], { host: "h", localUser });
        expect(failureOf(read)).toBeOneOf([undefined, "usage"]);
      }),
    );
  });
});

/** The code that an action fails with, or undefined. Anything but a failure of ours is thrown on. */
function failureOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (isFailure(error)) return error.code;
    throw error;
  }
}
