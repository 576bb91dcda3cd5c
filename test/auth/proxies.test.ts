/** Trusted proxies as people run them, with the configurations of the users' reports as they stand (reports B and E). */
import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  at,
  listAt,
  makeDevice,
  type Message,
  RawClient,
  type RawConnect,
  textAt,
  UpgradeRefused,
} from "../support/raw-client.ts";
import { CliHome, type SpawnedCli } from "../support/run-cli.ts";
import { type Front, fronts, session, ssoUser, startFront, startSso } from "./front.ts";

const reports = join(import.meta.dirname, "../fixtures/reports");
const bareCaller = join(import.meta.dirname, "../support/bare-caller.ts");
const everyScope = ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

/** The dashboard, as a browser opens it. */
const dashboard: RawConnect = {
  device: undefined,
  role: "operator",
  clientId: "openclaw-control-ui",
  mode: "ui",
  scopes: everyScope,
};

/** A gateway that runs on a configuration file of the product's place. */
class Configured implements AsyncDisposable {
  readonly home = new CliHome();
  gateway: SpawnedCli | undefined;
  port = 0;

  async start(report: string, flags: string): Promise<this> {
    const path = this.home.path(".openclaw", "openclaw.json");
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(join(reports, report), path);
    this.gateway = this.home.spawn(`gateway run --port 0 --json ${flags}`);
    this.port = Number((await this.gateway.event("ready"))["port"]);
    return this;
  }

  /** What the gateway's log said of the last refusal. */
  lastRefusal(): string {
    return this.gateway?.talk.items.findLast((line) => line.includes("auth failed") || line.includes("pairing")) ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gateway?.[Symbol.asyncDispose]();
    this.home[Symbol.dispose]();
  }
}

async function meet(url: string, headers: Readonly<Record<string, string>>, connect: RawConnect): Promise<Message> {
  await using client = await RawClient.open(url, headers);
  return await client.connect(connect);
}

async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return stdout.trim();
}

let sso: Front;
beforeAll(async () => {
  sso = await startSso();
});
afterAll(() => sso[Symbol.asyncDispose]());

describe("report B: the proxy and the gateway's own callers on one machine", () => {
  const userHeader = "x-authentik-email";
  const origin = "https://openclaw.example.com";
  let gateway: Configured;
  beforeAll(async () => {
    gateway = await new Configured().start("b-trusted-proxy-loopback.json5", "");
  });
  afterAll(() => gateway[Symbol.asyncDispose]());
  const frontOptions = () => ({
    gateway: { host: "127.0.0.1", port: gateway.port },
    userHeader,
    ssoPort: sso.port,
    listen: "127.0.0.1",
  });

  describe.each(fronts)("behind %s", (name) => {
    let front: Front;
    beforeAll(async () => {
      front = await startFront(name, frontOptions());
    });
    afterAll(() => front[Symbol.asyncDispose]());
    const url = () => `ws://127.0.0.1:${front.port}`;

    test("the browser of a user who is signed in connects without pairing, and so do the gateway's own callers meanwhile", async () => {
      await using browser = await RawClient.open(url(), { Cookie: session, Origin: origin });
      const hello = await browser.connect(dashboard);
      expect(hello).toMatchObject({ ok: true, payload: { auth: { method: "trusted-proxy", scopes: everyScope } } });
      expect(
        await run(bareCaller, `ws://127.0.0.1:${gateway.port}`, "gateway-client", "backend", "operator.write"),
      ).toBe("in by local: operator.write");
      expect(await run(bareCaller, `ws://127.0.0.1:${gateway.port}`, "cli", "cli", "operator.read")).toBe(
        "in by local: operator.read",
      );
      const devices = await gateway.home.run(`devices list --port ${gateway.port} --json`);
      expect(devices).toMatchObject({ code: 0, json: { ok: true } });
      const paired = listAt(await browser.call("device.pair.list"), "paired");
      expect(paired.filter((device) => at(device, "clientId") === dashboard.clientId)).toEqual([]);
    });

    test("who is not signed in does not get past it", async () => {
      await expect(RawClient.open(url(), { Origin: origin })).rejects.toBeInstanceOf(UpgradeRefused);
    });

    test("what the caller says of itself is not believed", async () => {
      const spoofed = { Cookie: session, Origin: origin, [userHeader]: "openclaw-internal@local" };
      const response = await meet(url(), spoofed, dashboard);
      // The front's own word stands, or both do, and then neither is believed.
      const isRefused = String(at(response.error?.details, "authReason")).startsWith("trusted_proxy_user_");
      const isIgnored =
        response.ok === true && gateway.gateway?.talk.items.join("\n").includes("openclaw-internal@local") === false;
      expect(isRefused || isIgnored).toBe(true);
    });

    test("a page of another origin is turned away", async () => {
      const response = await meet(url(), { Cookie: session, Origin: "https://evil.example" }, dashboard);
      expect(response).toMatchObject({ ok: false, error: { details: { code: "CONTROL_UI_ORIGIN_NOT_ALLOWED" } } });
    });

    test("a node is told how to be enrolled, and an enrolled one comes in", async () => {
      const device = makeDevice();
      const node = { device, role: "node", scopes: [], commands: ["system.which"] };
      const asked = await meet(url(), { Cookie: session }, node);
      expect(asked).toMatchObject({ ok: false, error: { details: { code: "PAIRING_REQUIRED" } } });
      expect(textAt(asked.error?.details, "remediationHint")).toMatch(/openclaw pair invite.*tunnel/u);
      const requestId = textAt(asked.error?.details, "requestId");
      expect(await gateway.home.run(`devices approve ${requestId} --port ${gateway.port} --json`)).toMatchObject({
        code: 0,
      });
      expect(await meet(url(), { Cookie: session }, node)).toMatchObject({
        ok: true,
        payload: { auth: { method: "trusted-proxy", role: "node" } },
      });
    });
  });

  test.each<[what: string, headers: Readonly<Record<string, string>>, reason: string]>([
    ["without any header, from a process that others may speak through", {}, "trusted_proxy_user_missing"],
    [
      "with the user's header, but not the proxy",
      { "x-authentik-email": "stranger@example.com" },
      "trusted_proxy_user_not_allowed",
    ],
    ["with an empty user", { "x-authentik-email": " " }, "trusted_proxy_user_missing"],
    ["with underscores for hyphens", { x_authentik_email: ssoUser }, "trusted_proxy_user_missing"],
  ])("straight to the gateway %s", async (_what, headers, reason) => {
    const response = await meet(`ws://127.0.0.1:${gateway.port}`, headers, { ...dashboard, device: undefined });
    expect(response.error?.details).toMatchObject({ code: "AUTH_UNAUTHORIZED", authReason: reason });
    expect(gateway.lastRefusal()).toContain(reason);
  });

  test("a header that stands there twice is nobody's word", async () => {
    const response = await meet(
      `ws://127.0.0.1:${gateway.port}`,
      // ws joins what is an array into two lines.
      { "x-authentik-email": [ssoUser, ssoUser] as unknown as string },
      dashboard,
    );
    expect(at(response.error?.details, "authReason")).toBe("trusted_proxy_user_ambiguous");
  });
});

describe("report E: the proxy on another machine", () => {
  const userHeader = "x-auth-request-email";
  const origin = "https://claw.example.com";
  const namespace = `oc${process.pid % 10_000}`;
  const wire = `oce${process.pid % 10_000}`;
  const inside = `ocf${process.pid % 10_000}`;
  /** The proxy's address is one of the report's range; the gateway's own is not. */
  const addresses = { gateway: "10.233.128.1", proxy: "10.233.64.2" };
  let gateway: Configured;
  let front: Front;
  let sso: Front;

  const ip = (line: string) => execFileSync("ip", line.split(" "), { stdio: ["ignore", "ignore", "inherit"] });

  beforeAll(async () => {
    ip(`netns add ${namespace}`);
    ip(`link add ${wire} type veth peer name ${inside} netns ${namespace}`);
    ip(`addr add ${addresses.gateway}/32 peer ${addresses.proxy} dev ${wire}`);
    ip(`link set ${wire} up`);
    ip(`-n ${namespace} addr add ${addresses.proxy}/32 peer ${addresses.gateway} dev ${inside}`);
    ip(`-n ${namespace} link set ${inside} up`);
    ip(`-n ${namespace} link set lo up`);
    gateway = await new Configured().start("e-trusted-proxy-remote.json5", "");
    sso = await startSso();
    front = await startFront("haproxy", {
      gateway: { host: addresses.gateway, port: gateway.port },
      userHeader,
      ssoPort: sso.port,
      listen: addresses.proxy,
      namespace,
    });
  });
  afterAll(async () => {
    await front?.[Symbol.asyncDispose]();
    await sso?.[Symbol.asyncDispose]();
    await gateway?.[Symbol.asyncDispose]();
    ip(`netns del ${namespace}`);
  });
  const url = () => `ws://${addresses.proxy}:${front.port}`;

  test("the dashboard opens without pairing", async () => {
    const headers = { Cookie: session, Origin: origin };
    expect(await meet(url(), headers, dashboard)).toMatchObject({
      ok: true,
      payload: { auth: { method: "trusted-proxy", scopes: everyScope } },
    });
    // Also the one whose browser has a key.
    expect(await meet(url(), headers, { ...dashboard, device: makeDevice() })).toMatchObject({ ok: true });
  });

  test("a first node behind the proxy, whose own address is none of the range, waits; the proxy's range is for nodes of the range", async () => {
    const node = { device: makeDevice(), role: "node", scopes: [], commands: ["system.which"] };
    const asked = await meet(url(), { Cookie: session }, node);
    expect(asked).toMatchObject({ ok: false, error: { details: { code: "PAIRING_REQUIRED" } } });
  });

  test("the refusal's line has both addresses and everything else that the report's had", async () => {
    const node = { device: makeDevice(), role: "node", scopes: [], commands: [] };
    await meet(url(), { Cookie: session, "User-Agent": "probe/1" }, node);
    const line = gateway.gateway?.talk.items.findLast((one) => one.includes("enrolment refused")) ?? "";
    for (const field of ["conn=", `peer=${addresses.proxy}:`, "remote=", "fwd=", "host=", "ua=", "code=", "reason="]) {
      expect(line).toContain(field);
    }
  });

  test.each<[what: string, headers: Readonly<Record<string, string>>, reason: string]>([
    ["nothing", {}, "trusted_proxy_untrusted_source"],
    ["a forwarded header of its own", { "X-Forwarded-For": "10.233.64.9" }, "proxy_attribution_required"],
    [
      "everything that the proxy would set",
      { [userHeader]: ssoUser, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "x", "X-Forwarded-For": "1.2.3.4" },
      "proxy_attribution_required",
    ],
  ])("who comes past the proxy with %s is refused", async (_what, headers, reason) => {
    const response = await meet(`ws://${addresses.gateway}:${gateway.port}`, { Origin: origin, ...headers }, dashboard);
    expect(response.error?.details).toMatchObject({ authReason: reason });
  });
});
