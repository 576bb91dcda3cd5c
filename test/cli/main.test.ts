import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { version } from "../../src/version.ts";
import { CliHome } from "../support/run-cli.ts";

test("--version prints the name and the version", async () => {
  using home = new CliHome();
  for (const line of ["--version", "-V"]) {
    expect(await home.run(line)).toMatchObject({ code: 0, stdout: `openclaw ${version}\n`, stderr: "" });
  }
});

test.each(["--version --json", "--json --version", "-V --json"])("%s is one JSON document", async (line) => {
  using home = new CliHome();
  expect(await home.run(line)).toMatchObject({ code: 0, json: { ok: true, version }, stderr: "" });
});

test("without words the help is shown", async () => {
  using home = new CliHome();
  const { code, stdout, stderr } = await home.run([]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("Usage: openclaw");
});

test.each(["--help", "devices --help", "devices rotate --help", "demo -h"])(
  "%s shows help with an example",
  async (line) => {
    using home = new CliHome();
    const { code, stdout, stderr } = await home.run(line);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/\nExamples?:\n {2}\$ openclaw /u);
  },
);

test.each<[line: string, message: RegExp, hint: string]>([
  ["devcies list", /unknown command 'devcies'/u, "did you mean devices?"],
  ["devices lst", /unknown command 'lst'/u, "did you mean list?"],
  ["devices list --jsn", /unknown option '--jsn'/u, "did you mean --json?"],
  ["devices list --porrt 3", /unknown option '--porrt'/u, "did you mean --port?"],
  ["tunnel ope", /unknown command 'ope'/u, "did you mean open?"],
  ["device list", /unknown command 'device'/u, "did you mean devices?"],
  ["node list", /unknown command 'list'/u, "did you mean openclaw nodes list?"],
  ["--profile x node describe kitchen", /unknown command 'describe'/u, "did you mean openclaw nodes describe?"],
  ["nodes run --port 1", /unknown command 'run'/u, "did you mean openclaw node run?"],
  ["node frobnicate", /unknown command 'frobnicate'/u, "see --help"],
  ["explain toekn-mismatch", /no error code "toekn-mismatch"/u, "did you mean token-mismatch?"],
  ["config get gateway.prot", /no setting gateway.prot/u, "did you mean gateway.port?"],
])("%s is a usage error that suggests the nearest known word", async (line, message, hint) => {
  using home = new CliHome();
  const { code, stdout, stderr } = await home.run(line);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
  expect(stderr).toContain(hint);
});

test.each(["auth explain", "doctor", "logs", "nodes install"])("%s is not there yet, and says so", async (line) => {
  using home = new CliHome();
  expect(await home.run(`${line} --json`)).toMatchObject({
    code: 2,
    json: { ok: false, error: { code: "usage", message: expect.stringContaining("unknown command") } },
  });
});

test.each<[line: string, named: string]>([
  ["devices", "--help"],
  ["devices reject", "request"],
  ["devices rename kitchen", "name"],
  ["devices clear", "--yes"],
  ["devices rotate", "--self"],
  ["devices rotate kitchen --self", "--self"],
  ["devices rotate kitchen --no-scopes --scope operator.read", "--no-scopes"],
  ["devices rotate kitchen --device cellar", "cellar"],
  ["devices revoke", "device"],
  ["nodes describe", "node"],
  ["nodes invoke kitchen", "command"],
  ["nodes invoke kitchen system.which more", "too many arguments"],
  ["nodes invoke kitchen system.which --params {", "--params"],
  ["nodes invoke kitchen system.which --params @missing.json", "missing.json"],
  ["nodes invoke kitchen system.which --invoke-timeout soon", "--invoke-timeout"],
  ["pair request --role boss", "operator and node"],
  ["node run --exec-policy lenient", "allowlist"],
  ["node run --approval-timeout soon", "--approval-timeout"],
  ["gateway run --port many", "--port"],
  ["gateway run --auth nothing", "token, password, trusted-proxy or none"],
  ["gateway run --auth password", "--password-file"],
  ["gateway run --auth trusted-proxy", "gateway.auth.trustedProxy.userHeader"],
  ["gateway run --bind 0.0.0.0 --auth none", "--auth token"],
  ["gateway run --bind everywhere", "loopback"],
  ["gateway run --upgrade-auth never", "--upgrade-auth"],
  ["gateway run --tls-cert cert.pem", "--tls-key"],
  ["gateway run --tls-cert missing.pem --tls-key missing.pem", "missing.pem"],
  ["gateway run --token-file missing", "--token-file"],
  ["gateway run --token a --token-file b", "--token-file"],
  ["gateway status --port many", "--port"],
  ["gateway status --url http://127.0.0.1:1", "--url"],
  ["gateway status --url ws://127.0.0.1:1 --port 1", "--port"],
  ["gateway status --token-file missing", "--token-file"],
  ["gateway status --token a --token-file b", "--token-file"],
  ["gateway status --header colonless", "--header"],
  ["gateway status --timeout soon", "--timeout"],
  ["gateway status --profile ../other", "profile"],
  ["tunnel open host.example", "-R or -L"],
  ["tunnel open host.example -R nonsense", "nonsense"],
  ["tunnel open host.example -L 1:a:2 --host-key-policy loose", "strict or accept-new"],
  ["tunnel open host.example -L 1:a:2 --keepalive soon", "--keepalive"],
  ["completion tcsh", "powershell"],
  ["config set gateway.port", "--value-file"],
  ["call", "method"],
])("%s is a usage error that names %s, in one JSON document", async (line, named) => {
  using home = new CliHome();
  const result = await home.run(`${line} --json`);
  expect(result).toMatchObject({ code: 2, json: { ok: false, error: { code: "usage" } } });
  expect(result.stdout).toContain(named);
});

test.each(["--json identity show", "identity --json show", "identity show --json"])(
  "%s: global options stand anywhere",
  async (line) => {
    using home = new CliHome();
    expect(await home.run(line)).toMatchObject({ code: 9, json: { ok: false, error: { code: "not-found" } } });
  },
);

test.each(["--state-dir other config path", "config path --state-dir other", "config --state-dir=other path"])(
  "%s: a global option keeps its value before and after the words",
  async (line) => {
    using home = new CliHome();
    const other = home.path("other");
    expect(await home.run(line.replace("other", other))).toMatchObject({
      code: 0,
      stdout: `${other}/toolkit/config.json5\n`,
    });
  },
);

test("a failure says what, then what to do, on stderr alone", async () => {
  using home = new CliHome();
  expect(await home.run("identity show")).toMatchObject({
    code: 9,
    stdout: "",
    stderr:
      "openclaw: this machine has no identity yet\nhint: one is made at the first connection, or now\nfix: openclaw identity create\n",
  });
});

test("--quiet keeps talk off stderr, and --debug adds the stack of a failure", async () => {
  using home = new CliHome();
  const loud = await home.run("identity show --debug");
  expect(loud.stderr).toMatch(/\n\s+at .*show\.ts/u);
  const quiet = await home.run("gateway status --quiet --token secret --port 1");
  expect(quiet.stderr).not.toContain("warning");
});

test("a bug of ours is called that, with exit code 1", async () => {
  using home = new CliHome();
  const broken = {
    ...systemRuntime,
    random: () => {
      throw new TypeError("no dice");
    },
  };
  const result = await home.run("identity create --json", { runtime: broken });
  expect(result).toMatchObject({
    code: 1,
    json: { ok: false, error: { code: "internal", message: expect.stringContaining("no dice") } },
  });
});

test("without a home directory the state has to be named, and then everything works", async () => {
  using home = new CliHome();
  const state = home.path("elsewhere");
  const named = await home.run(`identity create --json --state-dir ${state}`, { env: { HOME: undefined } });
  expect(named).toMatchObject({ code: 0, json: { path: `${state}/toolkit/identity/device.json` } });
});

test.each([
  ["--profile work config path", {}],
  ["config path", { OPENCLAW_PROFILE: "work" }],
])("%s %o: a profile is a state directory of its own", async (line, env) => {
  using home = new CliHome();
  expect(await home.run(line, { env })).toMatchObject({
    code: 0,
    stdout: `${home.stateDir}-work/toolkit/config.json5\n`,
  });
});

test("OPENCLAW_STATE_DIR beats OPENCLAW_HOME, and --state-dir beats both", async () => {
  using home = new CliHome();
  const env = { OPENCLAW_HOME: "/a", OPENCLAW_STATE_DIR: "/b" };
  expect((await home.run("config path", { env: { OPENCLAW_HOME: "/a" } })).stdout).toBe(
    "/a/.openclaw/toolkit/config.json5\n",
  );
  expect((await home.run("config path", { env })).stdout).toBe("/b/toolkit/config.json5\n");
  expect((await home.run("config path --state-dir /c", { env })).stdout).toBe("/c/toolkit/config.json5\n");
});
