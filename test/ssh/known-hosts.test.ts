/** known_hosts: every form of line, and the decision over them. Lines and digests come from OpenSSH's own tools. */
import { createHmac, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import {
  decideHostKey,
  keyFingerprint,
  knownHostsLine,
  knownKeyTypes,
  matchesHost,
  parseKnownHosts,
} from "../../src/ssh/known-hosts.ts";
import type { HostKeyDecision } from "../../src/ssh/known-hosts.ts";
import { runTool } from "../support/sshd.ts";
import { temporaryDirectory } from "../tunnel/world.ts";

type KeyName = "ed25519" | "other" | "rsa";
const publicKeys: Record<KeyName, string> = { ed25519: "", other: "", rsa: "" };
const fingerprints: Record<KeyName, string> = { ed25519: "", other: "", rsa: "" };

beforeAll(async () => {
  await using directory = await temporaryDirectory();
  for (const name of ["ed25519", "other", "rsa"] as const) {
    const path = join(directory.path, name);
    await runTool("ssh-keygen", "-q", "-t", name === "rsa" ? "rsa" : "ed25519", "-N", "", "-C", "", "-f", path);
    publicKeys[name] = (await readFile(`${path}.pub`, "utf8")).trim();
    fingerprints[name] = (await runTool("ssh-keygen", "-l", "-E", "sha256", "-f", `${path}.pub`)).split(" ")[1] ?? "";
  }
});

/** `{ed25519}` and its like become the public key. */
function fill(text: string): string {
  return text.replaceAll(/\{(ed25519|other|rsa)\}/g, (_, name: KeyName) => publicKeys[name]);
}

function blob(name: KeyName): Buffer {
  return Buffer.from(publicKeys[name].split(" ")[1] ?? "", "base64");
}

function decide(text: string, host = "host", port = 22, key: KeyName = "ed25519"): HostKeyDecision {
  return decideHostKey(parseKnownHosts(fill(text), "file").entries, { host, port }, blob(key));
}

/** The same file with hashed names, as ssh-keygen -H writes it. */
async function hashed(text: string): Promise<string> {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "known_hosts");
  await writeFile(path, fill(text));
  await runTool("ssh-keygen", "-q", "-H", "-f", path);
  return readFile(path, "utf8");
}

describe("a host key", () => {
  const known = { verdict: "known" };
  const unknown = { verdict: "unknown" };
  const changedAt = (line: number, keyType = "ssh-ed25519") => ({ verdict: "changed", file: "file", line, keyType });

  test.each<[name: string, lines: string, host: string, port: number, want: object]>([
    ["is known by a plain name", "host {ed25519}", "host", 22, known],
    ["is known in any case of the name", "Host {ed25519}", "hOST", 22, known],
    ["is known with a comment behind it", "host {ed25519} me@here", "host", 22, known],
    ["is known by one name of a list", "a,host,10.0.0.1 {ed25519}", "10.0.0.1", 22, known],
    ["is known with tabs and a carriage return", "host\t{ed25519}\r\n", "host", 22, known],
    ["is known by port", "[host]:2222 {ed25519}", "host", 2222, known],
    ["is known on another port by its plain name", "host {ed25519}", "host", 2222, known],
    ["is unknown on port 22 when only another port is listed", "[host]:2222 {ed25519}", "host", 22, unknown],
    ["is known by *", "*.example.org {ed25519}", "a.example.org", 22, known],
    ["is known by ?", "host? {ed25519}", "host1", 22, known],
    ["is not known where a pattern is negated", "!b.example.org,*.example.org {ed25519}", "b.example.org", 22, unknown],
    ["is not known by a name in the middle", "host {ed25519}", "myhost", 22, unknown],
    ["is not known by an IPv6 address of another host", "::1 {ed25519}", "::2", 22, unknown],
    ["is known by an IPv6 address", "::1 {ed25519}", "::1", 22, known],
    ["is unknown in an empty file", "", "host", 22, unknown],
    ["is unknown in a comment", "# host {ed25519}", "host", 22, unknown],
    ["has changed when another is listed", "x {ed25519}\nhost {other}", "host", 22, changedAt(2)],
    ["has changed when only another type is listed", "host {rsa}", "host", 22, changedAt(1, "ssh-rsa")],
    ["has changed where its own type is listed", "host {rsa}\nhost {other}", "host", 22, changedAt(2)],
    ["is known when it is one of several", "host {other}\nhost {rsa}\nhost {ed25519}", "host", 22, known],
    ["is unknown, not changed, when another port has another key", "host {other}", "host", 2222, unknown],
    [
      "has changed on its port even if the plain name has it",
      "[host]:2222 {other}\nhost {ed25519}",
      "host",
      2222,
      changedAt(1),
    ],
    [
      "is revoked although it is listed",
      "host {ed25519}\n@revoked * {ed25519}",
      "host",
      22,
      { verdict: "revoked", file: "file", line: 2 },
    ],
    [
      "is revoked on every port",
      "@revoked host {ed25519}\n[host]:2222 {ed25519}",
      "host",
      2222,
      { verdict: "revoked", file: "file", line: 1 },
    ],
    ["is unknown when only another is revoked", "@revoked host {other}", "host", 22, unknown],
    ["is not vouched for by a certificate authority", "@cert-authority host {ed25519}", "host", 22, unknown],
  ])("%s", (_name, lines, host, port, want) => {
    expect(decide(lines, host, port)).toEqual(want);
  });

  test.each([
    ["host", 22],
    ["[host]:2222", 2222],
  ])("is known by the hash of %s", async (name, port) => {
    const text = await hashed(`${name} {ed25519}\n`);
    expect(text).toMatch(/^\|1\|/);
    expect(decide(text, "HOST", port)).toEqual(known);
    expect(decide(text, "hosts", port)).toEqual(unknown);
    expect(decide(text, "host", port, "other")).toMatchObject({ verdict: "changed", line: 1 });
  });

  test("has the fingerprint that ssh-keygen prints", () => {
    for (const name of ["ed25519", "other", "rsa"] as const)
      expect(keyFingerprint(blob(name))).toBe(fingerprints[name]);
  });

  test("is known once its line is written, for every address", () => {
    const addresses = fc.record({
      host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
      port: fc.oneof(fc.constant(22), fc.integer({ min: 1, max: 65_535 })),
    });
    fc.assert(
      fc.property(addresses, (address) => {
        const { entries } = parseKnownHosts(knownHostsLine(address, blob("rsa")), "file");
        expect(decideHostKey(entries, address, blob("rsa"))).toEqual(known);
        expect(decideHostKey(entries, address, blob("ed25519"))).toMatchObject({ verdict: "changed" });
      }),
    );
  });
});

test.each([
  ["in clear", undefined],
  ["hashed", randomBytes(20)],
])("the line of a new host, %s, is what OpenSSH finds it by", async (_name, salt) => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "known_hosts");
  const line = knownHostsLine({ host: "Some.Host", port: 2222 }, blob("ed25519"), salt);
  expect(line.includes("some.host")).toBe(salt === undefined);
  await writeFile(path, `${line}\n`);
  expect(await runTool("ssh-keygen", "-F", "[some.host]:2222", "-f", path)).toContain("found: line 1");
  expect(decide(line, "some.host", 2222)).toEqual({ verdict: "known" });
});

test("OpenSSH finds the same lines for every host, in files of every make", { timeout: 60_000 }, async () => {
  await using directory = await temporaryDirectory();
  const names = fc.constantFrom("alpha", "beta", "alpha.example", "[alpha]:2222", "[beta]:22", "10.0.0.1");
  const pattern = fc.oneof(
    names,
    fc.constantFrom("*", "al*", "?eta", "*.example", "[alpha]:*", "[*]:2222", "10.0.0.?"),
  );
  const signed = fc.tuple(fc.boolean(), pattern).map(([isNegated, text]) => (isNegated ? `!${text}` : text));
  const hosts = fc.array(signed, { minLength: 1, maxLength: 3 }).map((all) => all.join(","));
  const marker = fc.constantFrom("", "", "", "@revoked ", "@cert-authority ");
  const line = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(marker, hosts).map(([mark, text]) => `${mark}${text} {ed25519}`) },
    { weight: 2, arbitrary: names.map((name) => hashedLine(name)) },
    { weight: 1, arbitrary: fc.constantFrom("# alpha", "") },
  );
  const files = fc.array(line, { minLength: 1, maxLength: 6 });
  const asked = fc.constantFrom("alpha", "beta", "alpha.example", "[alpha]:2222", "10.0.0.1", "[beta]:23");
  let number = 0;
  await fc.assert(
    fc.asyncProperty(files, asked, async (lines, name) => {
      const path = join(directory.path, `known-${number++}`);
      await writeFile(path, fill(`${lines.join("\n")}\n`));
      const answer = await runTool("ssh-keygen", "-F", name, "-f", path).catch(() => "");
      const theirs = [...answer.matchAll(/found: line (\d+)/g)].map(([, at]) => Number(at));
      const { entries, authorities } = parseKnownHosts(fill(lines.join("\n")), path);
      const ours = [...entries, ...authorities]
        .filter((entry) => matchesHost(entry.hosts, name))
        .map((entry) => entry.line);
      expect(
        ours.toSorted((a, b) => a - b),
        `${name}:\n${lines.join("\n")}`,
      ).toEqual(theirs);
    }),
    { numRuns: 150 },
  );
});

function hashedLine(name: string): string {
  const salt = Buffer.alloc(20, name);
  const hash = createHmac("sha1", salt).update(name).digest("base64");
  return `|1|${salt.toString("base64")}|${hash} {ed25519}`;
}

test("the key types known for a host are listed once, in order, and by port first", () => {
  const { entries } = parseKnownHosts(fill("host {rsa}\nhost {ed25519}\nhost {other}\n[host]:2222 {ed25519}"), "file");
  expect(knownKeyTypes(entries, { host: "host", port: 22 })).toEqual(["ssh-rsa", "ssh-ed25519"]);
  expect(knownKeyTypes(entries, { host: "host", port: 2222 })).toEqual(["ssh-ed25519"]);
  expect(knownKeyTypes(entries, { host: "host", port: 2223 })).toEqual(["ssh-rsa", "ssh-ed25519"]);
  expect(knownKeyTypes(entries, { host: "elsewhere", port: 22 })).toEqual([]);
});

test("broken lines are named and do not hide the others", () => {
  const broken = [
    "host",
    "host ssh-ed25519",
    "host ssh-ed25519 !!!!",
    "host ssh-rsa AAAA",
    "@unheard-of host {ed25519}",
  ];
  const text = fill([...broken, "host ssh-rsa AAAAC3Nz", "@cert-authority * {rsa}", "host {ed25519}"].join("\n"));
  const read = parseKnownHosts(text, "file");
  const authorities = [{ file: "file", line: 7, hosts: "*" }];
  const brokenLines = [1, 2, 3, 4, 5, 6].map((line) => `file:${line}`);
  expect(read).toMatchObject({ brokenLines, authorities, entries: [{ line: 8 }] });
});

test("reading any text throws nothing", () => {
  const words = fc.constantFrom(
    "@revoked",
    "host",
    "|1|",
    "|1|a|b",
    "ssh-rsa",
    "AAAA",
    "AAAAB3NzaC1yc2E=",
    "*",
    "!",
    ",",
    " ",
    "\n",
    "\0",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words).map((parts) => parts.join(" ")),
      ),
      (text) => {
        const { entries } = parseKnownHosts(text, "file");
        const decision = () => decideHostKey(entries, { host: "host", port: 22 }, Buffer.from("key"));
        expect(decision).not.toThrow();
      },
    ),
  );
});

test("a pattern matches what the same regular expression matches", () => {
  const meaning: Record<string, string> = { "*": ".*", "?": ".", ".": "\\." };
  const letters = fc.constantFrom("a", "b", ".", "*", "?");
  const names = fc.stringMatching(/^[ab.]{0,8}$/);
  fc.assert(
    fc.property(fc.array(letters, { minLength: 1, maxLength: 8 }), names, (parts, name) => {
      const expression = parts.map((part) => meaning[part] ?? part).join("");
      expect(matchesHost(parts.join(""), name)).toBe(new RegExp(`^${expression}$`, "s").test(name));
    }),
  );
});
