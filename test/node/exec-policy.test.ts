import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  changesWhatRuns,
  coversName,
  coversPath,
  decideExec,
  type ExecDecision,
  type ExecPolicy,
  type ExecRequest,
  execAsks,
  execSecurities,
  type FoundProgram,
} from "../../src/node/exec-policy.ts";

const git: FoundProgram = { asked: "/usr/bin/git", path: "/usr/bin/git", realPath: "/usr/bin/git", onPath: true };
const ask = (program: FoundProgram | undefined, envNames: string[] = []): ExecRequest => ({ program, envNames });
const listed = (...allowlist: string[]): ExecPolicy => ({ security: "allowlist", ask: "off", allowlist });
const allowed = (pattern: string, path: string): ExecDecision => ({ ok: true, by: "allowlist", pattern, path });
const miss: ExecDecision = { ok: false, reason: "allowlist-miss" };
const needsApproval: ExecDecision = { ok: false, reason: "approval-required" };

test.each<[name: string, policy: ExecPolicy, request: ExecRequest, want: ExecDecision]>([
  [
    "deny denies what is listed",
    { ...listed("git"), security: "deny" },
    ask(git),
    { ok: false, reason: "security=deny" },
  ],
  ["full runs what is not listed", { ...listed(), security: "full" }, ask(git), { ok: true, by: "full" }],
  [
    "full lets a program that is not there fail by itself",
    { ...listed(), security: "full" },
    ask(undefined),
    { ok: true, by: "full" },
  ],
  ["full takes any environment", { ...listed(), security: "full" }, ask(git, ["LD_PRELOAD"]), { ok: true, by: "full" }],
  ["full with ask always needs an approval", { ...listed(), security: "full", ask: "always" }, ask(git), needsApproval],
  [
    "full with ask on-miss has no misses",
    { ...listed(), security: "full", ask: "on-miss" },
    ask(git),
    { ok: true, by: "full" },
  ],
  ["an empty allowlist runs nothing", listed(), ask(git), miss],
  ["a program that is not there is a miss", listed("git", "/usr/bin/git", "/**"), ask(undefined), miss],
  ["ask on-miss turns a miss into a missing approval", { ...listed(), ask: "on-miss" }, ask(git), needsApproval],
  ["ask on-miss runs what is listed", { ...listed("git"), ask: "on-miss" }, ask(git), allowed("git", "/usr/bin/git")],
  ["ask always asks for what is listed too", { ...listed("git"), ask: "always" }, ask(git), needsApproval],
  ["a name covers what the node's PATH finds", listed("git"), ask(git), allowed("git", "/usr/bin/git")],
  [
    "a name does not cover another directory's program",
    listed("git"),
    ask({ ...git, path: "/tmp/git", realPath: "/tmp/git", onPath: false }),
    miss,
  ],
  [
    "a name does not cover a link elsewhere to the listed program",
    listed("git"),
    ask({ asked: "/tmp/git", path: "/tmp/git", realPath: "/usr/bin/git", onPath: false }),
    miss,
  ],
  ["a path covers that path", listed("/usr/bin/git"), ask(git), allowed("/usr/bin/git", "/usr/bin/git")],
  [
    "a path does not cover the same name elsewhere",
    listed("/usr/bin/git"),
    ask({ ...git, path: "/tmp/git", realPath: "/tmp/git" }),
    miss,
  ],
  [
    "a link to a listed file starts the file, not the link",
    listed("/usr/bin/git"),
    ask({ asked: "/tmp/x", path: "/tmp/x", realPath: "/usr/bin/git", onPath: false }),
    allowed("/usr/bin/git", "/usr/bin/git"),
  ],
  [
    "a listed link does not allow its neighbour that leads to the same file",
    listed("/bin/ls"),
    ask({ asked: "/bin/sh", path: "/bin/sh", realPath: "/bin/busybox", onPath: true }),
    miss,
  ],
  [
    "a listed link does not allow the file behind it",
    listed("/bin/ls"),
    ask({ asked: "/bin/busybox", path: "/bin/busybox", realPath: "/bin/busybox", onPath: true }),
    miss,
  ],
  ["a relative pattern covers nothing", listed("./git", "bin/git", "../git"), ask(git), miss],
  [
    "a wrapper is a program like any other",
    listed("git"),
    ask({ asked: "/usr/bin/env", path: "/usr/bin/env", realPath: "/usr/bin/env", onPath: true }),
    miss,
  ],
  ["a harmless variable passes", listed("git"), ask(git, ["GREETING", "LANG"]), allowed("git", "/usr/bin/git")],
  [
    "variables that change what runs are named",
    listed("git"),
    ask(git, ["LANG", "PATH", "LD_PRELOAD"]),
    { ok: false, reason: "env-override", envNames: ["PATH", "LD_PRELOAD"] },
  ],
  ["a miss comes before a bad environment", listed(), ask(git, ["PATH"]), miss],
])("%s", (_name, policy, request, want) => {
  expect(decideExec(policy, request)).toEqual(want);
});

test.each([
  "PATH",
  "LD_PRELOAD",
  "LD_LIBRARY_PATH",
  "LD_AUDIT",
  "DYLD_INSERT_LIBRARIES",
  "NODE_OPTIONS",
  "NODE_PATH",
  "PYTHONPATH",
  "PYTHONSTARTUP",
  "BASH_ENV",
  "BASH_FUNC_ls%%",
  "ENV",
  "SHELLOPTS",
  "PS4",
  "IFS",
  "PERL5OPT",
  "PERL5LIB",
  "RUBYOPT",
  "GIT_SSH",
  "GIT_SSH_COMMAND",
  "GIT_EXTERNAL_DIFF",
  "GIT_CONFIG_COUNT",
  "JAVA_TOOL_OPTIONS",
  "_JAVA_OPTIONS",
  "MAVEN_OPTS",
  "EDITOR",
  "GIT_EDITOR",
  "PAGER",
  "MANPAGER",
  "LESSOPEN",
  "HOME",
  "XDG_CONFIG_HOME",
  "ZDOTDIR",
  "SSH_ASKPASS",
  "RSYNC_RSH",
  "TAR_OPTIONS",
  "RUSTC_WRAPPER",
  "npm_config_script_shell",
  "OPENSSL_CONF",
  "GCONV_PATH",
  "OPENCLAW_STATE_DIR",
  "path",
  "Ld_Preload",
])("%s may not be set for an allowed program", (name) => {
  expect(changesWhatRuns(name)).toBe(true);
});

test.each(["LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR", "COLUMNS", "GREETING", "CI", "DEBUG"])(
  "%s may be set",
  (name) => {
    expect(changesWhatRuns(name)).toBe(false);
  },
);

describe("allowlist patterns", () => {
  test.each<[pattern: string, path: string, want: boolean]>([
    ["/opt/tools/*", "/opt/tools/lint", true],
    ["/opt/tools/*", "/opt/tools/sub/lint", false],
    ["/opt/tools/*", "/opt/tools", false],
    ["/opt/*/lint", "/opt/tools/lint", true],
    ["/opt/*/lint", "/opt/a/b/lint", false],
    ["/opt/**", "/opt/a/b/lint", true],
    ["/opt/**/lint", "/opt/lint", true],
    ["/opt/**/lint", "/opt/a/b/lint", true],
    ["/opt/**/lint", "/opt/a/b/lint2", false],
    ["/opt/**/bin/*", "/opt/bin/x/bin/y", true],
    ["/opt/tools/li*t", "/opt/tools/lint", true],
    ["/opt/tools/l**t", "/opt/tools/a/lint", false],
    ["/opt/tools/l?nt", "/opt/tools/lint", true],
    ["/opt/tools/lint?", "/opt/tools/lint", false],
    ["/opt/tools/l.nt", "/opt/tools/lint", false],
    ["/opt/tools/[a-z]int", "/opt/tools/lint", false],
    ["/OPT/tools/lint", "/opt/tools/lint", false],
    ["*", "/opt/tools/lint", false],
    ["**", "/opt/tools/lint", false],
    ["lint", "/opt/tools/lint", false],
  ])("%s against %s is %s", (pattern, path, want) => {
    expect(coversPath(pattern, path)).toBe(want);
  });

  test("a pattern full of stars is answered at once, not after an exponential search", () => {
    expect(coversName(`${"a*".repeat(400)}b`, "a".repeat(4_000))).toBe(false);
    expect(coversPath(`${"/**/a".repeat(100)}/b`, "/a".repeat(1_000))).toBe(false);
  });

  const name = fc.stringMatching(/^[a-z.*?[\]$^(+\\-]{1,8}$/u);
  const plain = fc.stringMatching(/^[a-z.$^(+-]{1,8}$/u);
  const path = fc.array(plain, { minLength: 1, maxLength: 5 }).map((names) => `/${names.join("/")}`);

  test("a path without wildcards covers itself and nothing else", () => {
    fc.assert(
      fc.property(path, path, (one, other) => {
        expect(coversPath(one, one)).toBe(true);
        expect(coversPath(one, other)).toBe(one === other);
      }),
    );
  });

  test("a pattern without ** never covers a path of another depth", () => {
    const pattern = fc.array(name, { minLength: 1, maxLength: 5 }).map((names) => `/${names.join("/")}`);
    fc.assert(
      fc.property(pattern, path, (one, other) => {
        fc.pre(!one.split("/").includes("**") && one.split("/").length !== other.split("/").length);
        expect(coversPath(one, other)).toBe(false);
      }),
    );
  });

  test("a pattern below a directory never covers a path outside of it", () => {
    const tail = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
    fc.assert(
      fc.property(path, tail, path, (directory, rest, other) => {
        fc.pre(!other.startsWith(`${directory}/`));
        expect(coversPath(`${directory}/${rest}`, other)).toBe(false);
      }),
    );
  });

  test("names agree with the regular expression that says the same", () => {
    const fewLetters = fc.stringMatching(/^[ab]{0,8}$/u);
    fc.assert(
      fc.property(fc.stringMatching(/^[ab*?]{0,6}$/u), fewLetters, (pattern, text) => {
        const same = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`, "u");
        expect(coversName(pattern, text)).toBe(same.test(text));
      }),
    );
  });

  test("a bare name never lets a program through that is not on the node's PATH", () => {
    const anyProgram = fc.record({ asked: path, path, realPath: path, onPath: fc.constant(false) });
    fc.assert(
      fc.property(fc.array(name), anyProgram, (names, program) => {
        expect(decideExec(listed(...names.filter((entry) => !entry.includes("/"))), ask(program))).toEqual(miss);
      }),
    );
  });

  test("whatever the allowlist, what may start under it is the path or the file behind it", () => {
    const program = fc.record({ asked: path, path, realPath: path, onPath: fc.boolean() });
    fc.assert(
      fc.property(fc.array(path), program, (allowlist, found) => {
        const policy = listed(...allowlist, found.realPath);
        expect(decideExec(policy, ask(found))).toMatchObject({ ok: true, by: "allowlist" });
        expect([found.path, found.realPath]).toContain(pathOf(decideExec(policy, ask(found))));
      }),
    );
  });

  test("deny denies and ask always asks, whatever is listed and wanted", () => {
    const program = fc.record({ asked: path, path, realPath: path, onPath: fc.boolean() });
    fc.assert(
      fc.property(
        fc.constantFrom(...execSecurities),
        fc.constantFrom(...execAsks),
        program,
        (security, when, found) => {
          fc.pre(security === "deny" || when === "always");
          expect(decideExec({ security, ask: when, allowlist: ["*", "/**"] }, ask(found))).toMatchObject({ ok: false });
        },
      ),
    );
  });
});

function pathOf(decision: ExecDecision): string | undefined {
  return decision.ok && decision.by === "allowlist" ? decision.path : undefined;
}
