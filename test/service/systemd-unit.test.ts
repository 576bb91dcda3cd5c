/** The text of a unit: tables, an independent reader of systemd's syntax, and systemd itself. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ownerMark, ownerOf, type ServiceSpec } from "../../src/service/service-spec.ts";
import { unitArgument, unitText, unitWord } from "../../src/service/systemd-unit.ts";
import { UserSystemd } from "../support/user-systemd.ts";

const spec: ServiceSpec = {
  description: "OpenClaw node host (node) for wss://gateway.example:443/",
  command: ["/opt/node js/bin/node", "/opt/openclaw.js", "node", "run", "--display-name=my node", "--allow=git"],
  environment: { PATH: "/usr/bin:/bin", NODE_EXTRA_CA_CERTS: "/etc/my ca.pem" },
  withoutEnvironment: ["OPENCLAW_PROFILE", "OPENCLAW_HOME"],
  finalExitCodes: [2, 4],
  workingDirectory: "/home/ada",
  logPath: "/home/ada/.openclaw/toolkit/logs/node.log",
  owner: { name: "node", stateDir: "/home/ada/.openclaw", envFile: "/home/ada/.openclaw/toolkit/services/node.env" },
};

test("a unit says all that systemd needs to know", () => {
  expect(unitText(spec).replaceAll(/^#.*\n/gmu, "")).toBe(`[Unit]
Description=OpenClaw node host (node) for wss://gateway.example:443/

[Service]
Type=exec
ExecStart="/opt/node js/bin/node" /opt/openclaw.js node run "--display-name=my node" --allow=git
Environment=PATH=/usr/bin:/bin
Environment="NODE_EXTRA_CA_CERTS=/etc/my ca.pem"
UnsetEnvironment=OPENCLAW_PROFILE OPENCLAW_HOME
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 4
KillMode=mixed
TimeoutStopSec=10
OOMPolicy=continue
LimitCORE=0

[Install]
WantedBy=default.target
`);
});

test.each<[text: string, word: string]>([
  ["plain-1.2_3/x:y=z,@+", "plain-1.2_3/x:y=z,@+"],
  ["two words", '"two words"'],
  ["", '""'],
  ["100%", "100%%"],
  ["%h/x y", '"%%h/x y"'],
  ["$HOME", "$$HOME"],
  ["${HOME} $$", '"$${HOME} $$$$"'],
  ['say "hi"', String.raw`"say \"hi\""`],
  [String.raw`C:\dir`, String.raw`"C:\\dir"`],
  ["it's", `"it's"`],
  [";", '";"'],
  ["#x", '"#x"'],
  ["a\tb\nc\u007f", String.raw`"a\x09b\x0ac\x7f"`],
  ["Grüße 🦀", '"Grüße 🦀"'],
])("the argument %j is written %s", (text, word) => {
  expect(unitArgument(text)).toBe(word);
});

test("a dollar in the program's path and in a variable is a dollar", () => {
  expect([unitWord("/opt/$x/node"), unitWord("A=$x y")]).toEqual(["/opt/$x/node", '"A=$x y"']);
});

/** One line of words as systemd.syntax(7) and systemd.service(5) have it, read as naively as can be. */
function readWords(line: string): string[] {
  const words: string[] = [];
  for (let at = 0; at < line.length;) {
    if (line[at] === " ") {
      at++;
      continue;
    }
    let word = "";
    let quote = "";
    for (; at < line.length && (quote !== "" || line[at] !== " "); at++) {
      const char = line[at] ?? "";
      if (char === quote) quote = "";
      else if (quote === "" && (char === '"' || char === "'")) quote = char;
      else if (char !== "\\") word += char;
      else {
        const next = line[++at] ?? "";
        if (next === "x") {
          word += String.fromCharCode(Number.parseInt(line.slice(at + 1, at + 3), 16));
          at += 2;
        } else word += next;
      }
    }
    words.push(word);
  }
  return words.map((word) => word.replaceAll("%%", "%").replaceAll("$$", "$"));
}

const anyText = fc.string({ unit: "binary", minLength: 0, maxLength: 40 });
const tricky = fc.string({
  unit: fc.constantFrom("%", "$", '"', "'", "\\", " ", "\t", "\n", ";", "#", "{", "}", "x", "h", "0", "é"),
});

test("whatever the arguments are, systemd reads them as they were", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(anyText, tricky), { minLength: 1 }), (words) => {
      const line = words.map(unitArgument).join(" ");
      expect(line).not.toMatch(/[\r\n]/u);
      expect(readWords(line)).toEqual(words);
    }),
    { numRuns: 2000 },
  );
});

test("whatever a state directory is called, its service is known by its mark", () => {
  fc.assert(
    fc.property(fc.oneof(anyText, fc.string({ unit: fc.constantFrom("-", ">", "}", '"', "\\", "\n") })), (stateDir) => {
      const owner = { name: "node", stateDir, envFile: `${stateDir}/node.env` };
      const mark = ownerMark(owner);
      expect(mark).not.toMatch(/--|\n/u);
      expect(ownerOf(`# ${mark}\n[Unit]\n`)).toEqual(owner);
      expect(ownerOf(`<?xml version="1.0"?>\n<!-- ${mark} -->\n<plist/>`)).toEqual(owner);
    }),
  );
});

test.each([
  "",
  "[Service]\nExecStart=/bin/true\n",
  "# openclaw-service\n",
  "# openclaw-service {}\n",
  '# openclaw-service {"name":"node"}\n',
  "# openclaw-service {not json}\n",
  `[Unit]\n${"\n".repeat(9)}# ${ownerMark(spec.owner)}`,
])("%j is no unit of ours", (text) => {
  expect(ownerOf(text)).toBeUndefined();
});

test("systemd itself reads a unit without a complaint, and starts it with just these words and variables", async () => {
  await using machine = await UserSystemd.start();
  const told = machine.path("told.json");
  const print = `require("fs").writeFileSync(${JSON.stringify(told)}, JSON.stringify([process.argv.slice(1), process.env]))`;
  const words = fc
    .sample(fc.string({ unit: fc.constantFrom(..."%$\"'\\ \t\n;#{}x0hé🦀-:@|&<>*~"), minLength: 1 }), {
      numRuns: 60,
      seed: 7,
    })
    .concat(["", "$$", "%%h", "${HOME}", "\\x41", "-", "--", ";", "a\\;b"]);
  const odd: ServiceSpec = {
    ...spec,
    command: [process.execPath, "-e", print, "--", ...words],
    environment: { ODD: `50% $HOME "x" \\n 'y'`, PATH: "/bin" },
  };
  const path = join(machine.unitDir, "odd.service");
  writeFileSync(path, unitText(odd));
  const verified = await machine.finish(["systemd-analyze", "--user", "verify", path]);
  expect(verified).toMatchObject({ code: 0, stderr: "" });
  const started = await machine.finish(["systemctl", "--user", "start", "odd.service"]);
  expect(started).toEqual({ code: 0, stdout: "", stderr: "", json: undefined });
  await expect.poll(() => machine.property("odd.service", "ActiveState"), { timeout: 20_000 }).toBe("inactive");
  const [argv, env]: [string[], Record<string, string>] = JSON.parse(readFileSync(told, "utf8"));
  expect(argv).toEqual(words);
  expect(env).toMatchObject(odd.environment);
});
