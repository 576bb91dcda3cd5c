/** Our command line against the real gateway: what each command asks for, what it prints, and how it explains what cannot work. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { type Runtime, systemRuntime } from "../../src/runtime.ts";
import { at, listAt, makeDevice, RawClient, type RawConnect, textAt } from "../support/raw-client.ts";
import { CliHome, type CliOptions, type CliResult, type RunningCli } from "../support/run-cli.ts";
import type { Version } from "./install.ts";
import { ProductGateway, productPassword, productToken } from "./product.ts";
import { type Introduction, type RecordingProxy, startRecordingProxy } from "./recording-proxy.ts";
import { interopVersions } from "./versions.ts";

/** The real gateway, the way to it that is written down, and the machine of its owner. */
class Scene implements AsyncDisposable {
  readonly gateway: ProductGateway;
  readonly door: RecordingProxy;
  readonly owner = new CliHome();
  readonly #machines: CliHome[] = [];
  readonly #nodes: RunningCli[] = [];

  private constructor(gateway: ProductGateway, door: RecordingProxy) {
    this.gateway = gateway;
    this.door = door;
    writeFileSync(this.tokenFile, productToken, { mode: 0o600 });
    writeFileSync(this.passwordFile, productPassword, { mode: 0o600 });
  }

  /** 2026.3.8 pairs silently whoever comes by a local name, so the door has a foreign one there. */
  static async start(version: Version, mode: "token" | "password"): Promise<Scene> {
    const gateway = await ProductGateway.start({ version, auth: { mode } });
    const host = version === "2026.3.8" ? "gateway.example.test" : undefined;
    return new Scene(gateway, await startRecordingProxy(gateway.url, host));
  }

  get tokenFile(): string {
    return this.owner.path("token");
  }

  get passwordFile(): string {
    return this.owner.path("password");
  }

  /** A command of the gateway's owner, who holds its token. */
  ask(line: string, options: CliOptions = {}): Promise<CliResult> {
    return this.from(this.owner, `${line} --token-file ${this.tokenFile}`, options);
  }

  /** A command of some machine, with what the line gives it. */
  from(machine: CliHome, line: string, options: CliOptions = {}): Promise<CliResult> {
    return machine.run(`${line} --json --timeout 60s --url ${this.door.url}`, options);
  }

  /** What a command said of itself in each of its connections. */
  async introductions(run: () => Promise<CliResult>): Promise<{ result: CliResult; said: readonly Introduction[] }> {
    const from = this.door.introductions.items.length;
    const result = await run();
    return { result, said: this.door.introductions.items.slice(from) };
  }

  /** Machines that are not the owner's; gone with the scene. */
  machine(): CliHome {
    const machine = new CliHome();
    this.#machines.push(machine);
    return machine;
  }

  /** A machine whose CLI was paired with these scopes, and which holds nothing but its device token. */
  async pairedMachine(...scopes: string[]): Promise<CliHome> {
    const machine = this.machine();
    await this.pairMachine(machine, scopes);
    return machine;
  }

  async pairMachine(machine: CliHome, scopes: readonly string[]): Promise<void> {
    const wanted = scopes.map((scope) => ` --scope ${scope}`).join("");
    const request = `pair request${wanted} --token-file ${this.tokenFile}`;
    const { requestId } = answer(await this.from(machine, request));
    answer(await this.ask(`devices approve ${String(requestId)}`));
    const { paired } = answer(await this.from(machine, request));
    if (paired !== true) throw new Error("approved, and not paired");
  }

  /** A device that asks to be let in. Resolves with its id and its request's. */
  async request(options: RawConnect = {}): Promise<{ readonly deviceId: string; readonly requestId: string }> {
    const device = options.device ?? makeDevice();
    await using client = await RawClient.open(this.door.url);
    const { error } = await client.connect({ device, auth: { token: productToken }, ...options });
    return { deviceId: device.id, requestId: textAt(error?.details, "requestId") };
  }

  /** Our own node host, approved on every layer there is. It ends with the scene. */
  async node(displayName: string): Promise<{ readonly deviceId: string; readonly running: RunningCli }> {
    const line = `node run --display-name ${displayName} --exec-policy full --json --url ${this.door.url}`;
    const running = this.machine().start(`${line} --token-file ${this.tokenFile}`, {
      runtime: brisk,
    });
    this.#nodes.push(running);
    const { requestId, deviceId } = await running.event("pairing-required");
    answer(await this.ask(`pair approve ${String(requestId)} --surface`));
    await running.event("ready");
    return { deviceId: String(deviceId), running };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()));
    await this.door[Symbol.asyncDispose]();
    await this.gateway[Symbol.asyncDispose]();
    for (const machine of [this.owner, ...this.#machines]) machine[Symbol.dispose]();
  }
}

describe.each(interopVersions)("%s", (version) => {
  let scene: Scene;
  let guarded: Scene;
  const isOld = version === "2026.3.8";
  const byVersion = <Old, New>(old: Old, current: New): Old | New => (isOld ? old : current);
  /** For the table of what works where. */
  const noteOld = async (context: TestContext, note: string, type?: "no") => {
    if (isOld) await context.annotate(note, type ?? "notice");
  };
  const started = new AsyncDisposableStack();
  beforeAll(async () => {
    scene = started.use(await Scene.start(version, "token"));
    guarded = started.use(await Scene.start(version, "password"));
  });
  afterAll(() => started.disposeAsync());

  describe("our CLI -> its gateway", () => {
    test("`gateway status` tells its version, protocol and health", async () => {
      const line = `gateway status --json --url ${scene.gateway.url} --token-file ${scene.tokenFile}`;
      expect(await scene.owner.run(line)).toMatchObject({
        code: 0,
        json: {
          ok: true,
          url: `${scene.gateway.url}/`,
          reachable: true,
          upgrade: "accepted",
          auth: byVersion("accepted", "token"),
          version,
          protocol: byVersion(3, 4),
          latencyMs: expect.any(Number),
          uptimeMs: expect.any(Number),
        },
      });
    });

    test("the token goes into the header and the frame, from a file and from the environment", async () => {
      const env = { OPENCLAW_GATEWAY_TOKEN: productToken };
      for (const run of [
        () => scene.ask("devices list"),
        () => scene.from(scene.owner, "devices list", { env }),
        () => scene.from(scene.machine(), "pair request", { env }),
      ]) {
        const { result, said } = await scene.introductions(run);
        expect(result.code).toBe(0);
        expect(said.map(credentials)).toEqual([{ header: `Bearer ${productToken}`, frame: { token: productToken } }]);
      }
    });

    test("the password goes into the header and the frame, from a file and from the environment", async () => {
      const env = { OPENCLAW_GATEWAY_PASSWORD: productPassword };
      const file = `--password-file ${guarded.passwordFile}`;
      for (const run of [
        () => guarded.from(guarded.owner, `devices list ${file}`),
        () => guarded.from(guarded.owner, "devices list", { env }),
        () => guarded.from(guarded.machine(), "pair request", { env }),
      ]) {
        const { result, said } = await guarded.introductions(run);
        expect(result.code).toBe(0);
        expect(said.map(credentials)).toEqual([
          { header: `Bearer ${productPassword}`, frame: { password: productPassword } },
        ]);
      }
    });

    test("a paired CLI gets in by its device token alone, in the header and the frame", async () => {
      const laptop = await scene.pairedMachine("operator.read");
      const { result, said } = await scene.introductions(() => scene.from(laptop, "nodes list"));
      expect(result).toMatchObject({ code: 0, json: { ok: true, nodes: expect.any(Array) } });
      const token = storedToken(laptop);
      expect(said.map(credentials)).toEqual([{ header: `Bearer ${token}`, frame: { deviceToken: token } }]);
    });

    test("a wrong token, a wrong password and no credential are told apart", async () => {
      const stranger = scene.machine();
      expect(await scene.from(stranger, "devices list", { env: { OPENCLAW_GATEWAY_TOKEN: "wrong" } })).toMatchObject({
        code: 4,
        json: { ok: false, error: { code: "token-mismatch" } },
      });
      const env = { OPENCLAW_GATEWAY_PASSWORD: "wrong" };
      expect(await guarded.from(stranger, "devices list", { env })).toMatchObject({
        code: 4,
        json: { ok: false, error: { code: "password-mismatch" } },
      });
      expect(await scene.from(stranger, "devices list")).toMatchObject({
        code: 4,
        json: { ok: false, error: { code: "credential-missing", hint: expect.stringContaining("--token-file") } },
      });
    });

    test("each command asks for the least that it needs", async () => {
      const { requestId } = await scene.request({ ...cli, scopes: ["operator.read"] });
      const lines: readonly (readonly [line: string, scopes: readonly (readonly string[])[]])[] = [
        ["gateway status", [[]]],
        ["devices list", [["operator.pairing"]]],
        ["pair list", [["operator.pairing"]]],
        ["nodes pending", [["operator.pairing"]]],
        ["nodes list", [["operator.read"]]],
        ["call health", [[]]],
        ["call status", [["operator.read"]]],
        ["call device.pair.list", [["operator.pairing"]]],
        ["nodes invoke nobody system.which", [["operator.write"]]],
        // Whoever gives scopes away has to hold them; 2026.3.8 does not ask for that.
        [
          `devices approve ${requestId}`,
          byVersion([["operator.pairing"]], [["operator.pairing"], ["operator.pairing", "operator.admin"]]),
        ],
      ];
      for (const [line, scopes] of lines) {
        const { said } = await scene.introductions(() => scene.ask(line));
        expect([line, said.map(({ params }) => listAt(params, "scopes"))]).toEqual([line, scopes]);
      }
    });

    test("`devices list` shows who waits and who is paired", async (context) => {
      const waiting = await scene.request({ displayName: "porch" });
      const { pending } = answer(await scene.ask("devices list"));
      expect(listOf(pending).find((request) => at(request, "requestId") === waiting.requestId)).toMatchObject({
        deviceId: waiting.deviceId,
        displayName: "porch",
        role: "node",
        roles: ["node"],
        scopes: [],
        platform: "linux",
        fingerprint: expect.stringMatching(/^[0-9a-f]{4}(:[0-9a-f]{4}){4}$/u),
        layer: "device",
        ts: expect.any(Number),
      });
      answer(await scene.ask(`devices approve ${waiting.requestId}`));
      const { paired } = answer(await scene.ask("devices list"));
      expect(listOf(paired).find((device) => at(device, "deviceId") === waiting.deviceId)).toMatchObject({
        displayName: "porch",
        roles: ["node"],
        tokens: [{ role: "node", scopes: [], createdAtMs: expect.any(Number) }],
        createdAtMs: expect.any(Number),
        approvedAtMs: expect.any(Number),
      });
      const { stdout } = await scene.owner.run(`devices list --url ${scene.door.url} --token-file ${scene.tokenFile}`);
      const row = stdout.split("\n").find((line) => line.startsWith(waiting.deviceId));
      expect(row).toMatch(byVersion(/ node +unknown +unknown$/u, / node +no +/u));
      await noteOld(context, "2026.3.8 does not tell whether a device is connected; the list says `unknown`.");
    });

    test("`devices approve` takes an id, a prefix or a name, and never the newest unseen", async () => {
      const { requestId, deviceId } = await scene.request({ displayName: "attic" });
      for (const words of ["", "--latest"]) {
        expect(await scene.ask(`devices approve ${words}`)).toMatchObject({
          code: 5,
          json: { error: { code: "approval-unconfirmed", fix: expect.stringContaining(requestId) } },
        });
      }
      expect(await scene.ask("devices approve attic")).toMatchObject({
        code: 0,
        json: { ok: true, requestId, device: { deviceId } },
      });
      expect(await scene.ask(`devices approve ${requestId}`)).toMatchObject({
        code: 9,
        json: { error: { code: "not-found" } },
      });
      const second = await scene.request();
      expect(await scene.ask(`devices approve ${second.deviceId.slice(0, 8)}`)).toMatchObject({ code: 0 });
      const third = await scene.request();
      expect(await scene.ask("devices approve --latest --yes")).toMatchObject({
        code: 0,
        json: { requestId: third.requestId },
      });
    });

    test.each(["devices reject", "pair reject"])("`%s` turns a request down", async (command) => {
      const { requestId, deviceId } = await scene.request();
      expect(await scene.ask(`${command} ${requestId} --reason 'not one of ours'`)).toMatchObject({
        code: 0,
        json: { ok: true, requestId, deviceId },
      });
      expect(await scene.ask(`${command} ${requestId}`)).toMatchObject({
        code: 9,
        json: { error: { code: "not-found" } },
      });
    });

    test("`devices rename` gives a device a name", async (context) => {
      const { requestId, deviceId } = await scene.request({ displayName: "nameless" });
      answer(await scene.ask(`devices approve ${requestId}`));
      expect(await scene.ask(`devices rename ${deviceId} cellar`)).toMatchObject(
        byVersion(
          { code: 10, json: { error: { code: "incompatible", message: expect.stringContaining("2026.3.8") } } },
          { code: 0, json: { ok: true, deviceId, label: "cellar" } },
        ),
      );
      const name = byVersion("nameless", "cellar");
      expect(await scene.ask(`devices remove ${name}`)).toMatchObject({ code: 0, json: { deviceId } });
      await noteOld(context, "2026.3.8 has no names for devices; the command says so and ends with 10.", "no");
    });

    test("`devices remove` forgets a device", async () => {
      const { requestId, deviceId } = await scene.request();
      answer(await scene.ask(`devices approve ${requestId}`));
      expect(await scene.ask(`devices remove ${deviceId}`)).toMatchObject({ code: 0, json: { ok: true, deviceId } });
      expect(await scene.ask(`devices remove ${deviceId}`)).toMatchObject({
        code: 9,
        json: { error: { code: "not-found" } },
      });
    });

    test("`devices rotate` of another device says where the new token stays", async (context) => {
      const { requestId, deviceId } = await scene.request({ displayName: "balcony" });
      answer(await scene.ask(`devices approve ${requestId}`));
      const out = scene.owner.path("token-of-balcony");
      const rotated = await scene.ask(`devices rotate --device ${deviceId} --role node --yes --out ${out}`);
      const told = { ok: true, deviceId, role: "node", scopes: [], rotatedAtMs: expect.any(Number) };
      const withheld = `so ${out} was not written\nthe device gets its new token when it next comes`;
      expect(rotated).toMatchObject({
        code: 0,
        json: { ...told, delivered: isOld },
        stderr: byVersion("", expect.stringContaining(withheld)),
      });
      expect(existsSync(out)).toBe(isOld);
      expect(at(rotated.json, "token")).toBeUndefined();
      await noteOld(
        context,
        "2026.3.8 hands the new token to whoever rotates it, and leaves sessions of the old one alone.",
      );
    });

    test("`devices rotate --self` stores the new token, and the old one is void", async () => {
      const laptop = await scene.pairedMachine("operator.pairing", "operator.read");
      const before = storedToken(laptop);
      const rotated = await scene.from(laptop, "devices rotate --self");
      expect(rotated).toMatchObject({ code: 0, json: { ok: true, role: "operator", delivered: true } });
      const after = storedToken(laptop);
      expect(after).not.toBe(before);
      expect(rotated.stdout + rotated.stderr).not.toContain(after);
      expect(await scene.from(laptop, "nodes list")).toMatchObject({ code: 0 });
    });

    test("`devices revoke` ends a role at once: its token opens nothing any more", async () => {
      const laptop = await scene.pairedMachine("operator.read");
      const deviceId = await deviceIdOf(laptop);
      expect(await scene.ask(`devices revoke ${deviceId} --role operator`)).toMatchObject({
        code: 0,
        json: { ok: true, deviceId, role: "operator", revokedAtMs: expect.any(Number) },
      });
      expect(await scene.from(laptop, "nodes list")).toMatchObject({
        code: 4,
        json: { error: { code: "device-token-mismatch" } },
      });
    });

    test("a node is approved with `pair approve --surface`, listed, described and invoked", async (context) => {
      const { deviceId } = await scene.node("kitchen");
      const { nodes } = answer(await scene.ask("nodes list"));
      expect(listOf(nodes).find((node) => at(node, "nodeId") === deviceId)).toMatchObject({
        displayName: "kitchen",
        platform: "linux",
        connected: true,
        paired: true,
        caps: expect.arrayContaining(["system"]),
        commands: expect.arrayContaining(["system.which", "system.run"]),
      });
      expect(await scene.ask("nodes describe kitchen")).toMatchObject({
        code: 0,
        json: { ok: true, nodeId: deviceId, connected: true, commands: expect.arrayContaining(["system.which"]) },
      });
      expect(
        await scene.ask(`nodes invoke --node kitchen --command system.which --params '{"bins":["sh"]}'`),
      ).toMatchObject({
        code: 0,
        json: { ok: true, nodeId: deviceId, command: "system.which", payload: { bins: { sh: expect.any(String) } } },
      });
      expect(await scene.ask(`nodes invoke kitchen system.run --params '{"command":["echo","hello"]}'`)).toMatchObject({
        code: 0,
        json: { ok: true, payload: { exitCode: 0, success: true, stdout: "hello\n" } },
      });
      expect(await scene.ask("nodes invoke kitchen camera.snap")).toMatchObject({
        code: 6,
        json: { error: { code: "command-not-allowed" } },
      });
      await noteOld(context, "2026.3.8 has one approval: a node that is paired can be invoked.");
    });

    test("`nodes pending`, `nodes reject` and `nodes approve` are the second approval of a node", async (context) => {
      const device = makeDevice();
      const asked = { device, commands: ["system.which"], displayName: "garage", auth: { token: productToken } };
      const { requestId } = await scene.request(asked);
      answer(await scene.ask(`pair approve ${requestId}`));
      await using node = await RawClient.open(scene.door.url);
      expect(await node.connect(asked)).toMatchObject({ ok: true });
      const surface = expect.objectContaining({ deviceId: device.id, layer: "surface", commands: ["system.which"] });
      for (const list of ["nodes pending", "pair list"]) {
        const { pending } = answer(await scene.ask(list));
        expect(pending).toEqual(byVersion(expect.not.arrayContaining([surface]), expect.arrayContaining([surface])));
      }
      expect(await scene.ask("nodes invoke garage system.which --invoke-timeout 300ms")).toMatchObject(
        byVersion(
          { code: 1, json: { error: { code: "invoke-timeout" } } }, // it was asked: this node does not answer
          { code: 5, json: { error: { code: "surface-approval-required" } } },
        ),
      );
      const missing = { code: 9, json: { error: { code: "not-found" } } };
      expect(await scene.ask("nodes reject garage")).toMatchObject(byVersion(missing, { code: 0 }));
      await node[Symbol.asyncDispose]();
      await using again = await RawClient.open(scene.door.url);
      expect(await again.connect(asked)).toMatchObject({ ok: true });
      const { result, said } = await scene.introductions(() => scene.ask("nodes approve garage"));
      const approved = { code: 0, json: { ok: true, node: { nodeId: device.id, commands: ["system.which"] } } };
      expect(result).toMatchObject(byVersion(missing, approved));
      expect(said.map(({ params }) => at(params, "scopes"))).toEqual(
        byVersion([["operator.pairing"]], [["operator.pairing"], ["operator.pairing", "operator.admin"]]),
      );
      await noteOld(context, "2026.3.8 has no second approval; `nodes pending` is empty there.", "no");
    });

    test("`nodes rename` names a node", async (context) => {
      const { deviceId } = await scene.node("larder");
      expect(await scene.ask(`nodes rename ${deviceId} pantry`)).toMatchObject(
        byVersion(
          { code: 9, json: { error: { code: "not-found" } } },
          { code: 0, json: { ok: true, nodeId: deviceId, displayName: "pantry" } },
        ),
      );
      const name = byVersion("larder", "pantry");
      expect(await scene.ask(`nodes describe ${name}`)).toMatchObject({ code: 0, json: { nodeId: deviceId } });
      await noteOld(
        context,
        "2026.3.8 renames only nodes of its older store; for others it says `unknown nodeId`.",
        "no",
      );
    });

    test("a node that is gone and a node that is unknown have exit codes of their own", async () => {
      const { deviceId, running } = await scene.node("shed");
      await running.stop();
      expect(await scene.ask(`nodes invoke ${deviceId} system.which`)).toMatchObject({
        code: 3,
        json: { error: { code: "node-offline" } },
      });
      expect(await scene.ask("nodes describe nobody")).toMatchObject({
        code: 9,
        json: { error: { code: "not-found" } },
      });
      expect(await scene.ask(`nodes describe ${"0".repeat(64)}`)).toMatchObject({
        code: 9,
        json: { error: { code: "not-found" } },
      });
    });

    test("`call` reaches any method, and says what is wrong with the others", async () => {
      expect(await scene.ask("call health")).toMatchObject({
        code: 0,
        json: { ok: true, method: "health", result: { ok: true } },
      });
      expect(await scene.ask("call node.list --params {}")).toMatchObject({
        code: 0,
        json: { result: { nodes: expect.any(Array) } },
      });
      expect(await scene.ask("call no.such.method --scope operator.admin")).toMatchObject({
        code: 2,
        json: { error: { code: "usage", message: expect.stringContaining("no.such.method") } },
      });
      expect(await scene.ask(`call node.describe --params '{"nodeId":7}'`)).toMatchObject({
        code: 2,
        json: { error: { code: "usage" } },
      });
      expect(await scene.ask("call device.pair.list --scope operator.read")).toMatchObject({
        code: 6,
        json: { error: { code: "scope-missing" } },
      });
    });

    test("a CLI that was paired with too few scopes learns how to get more, and keeps its token", async (context) => {
      const laptop = await scene.pairedMachine("operator.read");
      const before = storedToken(laptop);
      expect(await scene.from(laptop, "devices list")).toMatchObject({
        code: 6,
        json: {
          error: {
            code: "scope-missing",
            message: expect.stringContaining("operator.pairing"),
            fix: `openclaw pair request --role operator --scope operator.pairing --url ${scene.door.url}`,
          },
        },
      });
      expect(storedToken(laptop)).toBe(before);
      expect(await scene.from(laptop, "nodes list")).toMatchObject({ code: 0 });
      await scene.pairMachine(laptop, ["operator.pairing", "operator.read"]);
      expect(await scene.from(laptop, "devices list")).toMatchObject({ code: 0 });
      await noteOld(context, "2026.3.8 calls a token void that is only too narrow; the CLI finds out, and keeps it.");
    });

    test("a paired CLI without operator.admin approves only what the gateway lets it, and is told what it takes", async (context) => {
      const laptop = await scene.pairedMachine("operator.pairing");
      const { requestId, deviceId } = await scene.request();
      expect(await scene.from(laptop, `devices approve ${requestId}`)).toMatchObject(
        byVersion(
          { code: 0, json: { device: { deviceId } } },
          {
            code: 6,
            json: { error: { code: "scope-missing", fix: expect.stringContaining("--scope operator.admin") } },
          },
        ),
      );
      const listed = await scene.from(laptop, "devices list");
      expect(listed).toMatchObject({
        code: 0,
        stderr: byVersion("", expect.stringContaining("only this machine's own device")),
      });
      const seen = listAt(listed.json, "paired").map((device) => at(device, "deviceId"));
      expect(seen.includes(deviceId)).toBe(isOld);
      expect(seen).toContain(await deviceIdOf(laptop));
      await noteOld(context, "2026.3.8 lets operator.pairing approve everything; newer gateways take operator.admin.");
    });

    test("a paired CLI with operator.admin approves nodes by its device token alone", async () => {
      const laptop = await scene.pairedMachine("operator.pairing", "operator.admin");
      const { requestId, deviceId } = await scene.request({ displayName: "hall" });
      const { pending } = answer(await scene.from(laptop, "devices list"));
      expect(pending).toContainEqual(expect.objectContaining({ requestId }));
      expect(await scene.from(laptop, `devices approve ${requestId}`)).toMatchObject({
        code: 0,
        json: { device: { deviceId } },
      });
      expect(await scene.from(laptop, `devices remove ${deviceId}`)).toMatchObject({ code: 0 });
    });

    test("on the gateway's own host its configuration says where it is, and with what one gets in", async () => {
      const env = { OPENCLAW_STATE_DIR: scene.gateway.home.stateDir };
      const before = readFileSync(scene.gateway.home.configFile);
      expect(await scene.owner.run("gateway status --json", { env })).toMatchObject({
        code: 0,
        json: { url: `${scene.gateway.url}/`, version },
      });
      expect(await scene.owner.run("devices list --json", { env })).toMatchObject({ code: 0, json: { ok: true } });
      expect(
        await guarded.owner.run("devices list --json", { env: { OPENCLAW_STATE_DIR: guarded.gateway.home.stateDir } }),
      ).toMatchObject({ code: 0, json: { ok: true } });
      expect(readFileSync(scene.gateway.home.configFile)).toEqual(before);
    });

    test("with the gateway's password a device is approved, rotated, revoked and removed too", async () => {
      const env = { OPENCLAW_GATEWAY_PASSWORD: productPassword };
      const ask = (line: string) => guarded.from(guarded.owner, line, { env });
      const auth = { password: productPassword };
      for (const options of [{ auth }, { auth, ...cli, scopes: ["operator.read"] }]) {
        const { requestId, deviceId } = await guarded.request(options);
        for (const line of [
          `pair approve ${requestId}`,
          `devices rotate ${deviceId} --yes`,
          `devices revoke ${deviceId}`,
          `devices remove ${deviceId}`,
        ]) {
          expect(await ask(line)).toMatchObject({
            code: 0,
            json: { ok: true, deviceId },
          });
        }
      }
    });
  });
});

/** Asks again soon, and leaves the gateway some of the processor. */
const brisk: Runtime = {
  ...systemRuntime,
  sleep: (ms, signal) => systemRuntime.sleep(Math.min(ms, 250), signal),
};

const cli = { role: "operator", clientId: "cli", mode: "cli" } as const;

/** The answer of a command that must succeed. */
function answer({ code, json, stdout, stderr }: CliResult): Readonly<Record<string, unknown>> {
  if (code !== 0 || typeof json !== "object" || json === null) throw new Error(`exit ${code}: ${stdout}${stderr}`);
  return { ...json };
}

function listOf(value: unknown): readonly unknown[] {
  return listAt({ value }, "value");
}

/** The credential of a connection, in both of its places. */
function credentials({ headers, params }: Introduction) {
  return { header: headers.authorization, frame: at(params, "auth") };
}

async function deviceIdOf(machine: CliHome): Promise<string> {
  return String(answer(await machine.run("identity show --json"))["deviceId"]);
}

function storedToken(machine: CliHome): string {
  const file = readFileSync(machine.path(".openclaw/toolkit/identity/device-tokens.json"), "utf8");
  return /"token": "([^"]+)"/u.exec(file)?.[1] ?? "";
}
