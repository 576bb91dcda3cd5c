/** The product's gateway in trusted-proxy mode: through nginx, which names the user, and past it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RawClient, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";
import { everyScope } from "../support/world.ts";
import { succeed } from "../cli/world.ts";
import { accessSecret, type Nginx, proxyUser, startNginx, userHeader } from "./nginx.ts";
import { approveNode, askNode, type Owner, startOurNode, withToken } from "./node-at-product.ts";
import { openTunnel } from "./our-tunnel.ts";
import { ProductGateway, productPassword } from "./product.ts";
import { interopVersions } from "./versions.ts";

const withAccess = { CF_ACCESS_CLIENT_ID: "our-service", CF_ACCESS_CLIENT_SECRET: accessSecret };
const withPassword = { OPENCLAW_GATEWAY_PASSWORD: productPassword };

describe.each(interopVersions)("%s", (version) => {
  const isOld = version === "2026.3.8";
  const noPath = `${version} has no path past its proxy: the password is not looked at, and our CLI says so`;
  const bins = { bins: { sh: expect.stringMatching(/\/sh$/u) } };
  const unpassable = {
    ok: false,
    error: { code: "unauthorized", hint: expect.stringContaining("did not look at the password") },
  };
  const started = new AsyncDisposableStack();
  let gateway: ProductGateway;
  let nginx: Nginx;
  let owner: Owner;
  let sshd: Sshd;
  beforeAll(async () => {
    const trustedProxy = {
      userHeader,
      requiredHeaders: ["x-forwarded-proto"],
      allowUsers: [proxyUser],
      ...(isOld ? {} : { allowLoopback: true }),
    };
    gateway = started.use(
      await ProductGateway.start({
        version,
        auth: { mode: "trusted-proxy", trustedProxy },
        gateway: { trustedProxies: ["127.0.0.1"] },
      }),
    );
    nginx = started.use(await startNginx(gateway.port));
    owner = isOld
      ? { home: gateway.home, call: (method, params) => callThroughProxy(nginx.port, method, params) }
      : gateway;
    sshd = started.use(await startSshd());
  });
  afterAll(() => started.disposeAsync());

  describe("our CLI -> its gateway in trusted-proxy mode", () => {
    test("through nginx, once its device is approved", async ({ annotate }) => {
      using home = new CliHome();
      const ask = () => home.run(`devices list --json --port ${nginx.port}`, { env: withAccess });
      const refused = await ask();
      expect(refused).toMatchObject({ code: 5, json: { error: { code: "pairing-required" } } });
      const requestId = textAt(refused.json, "error", "details", "requestId");
      if (isOld) {
        await annotate(
          `${version} has no path past its proxy, not even on its own host: who approves comes through it too`,
        );
        await owner.call("device.pair.approve", { requestId });
      } else {
        using host = new CliHome();
        const approve = `devices approve ${requestId} --json --port ${gateway.port}`;
        await succeed(host.run(approve, { env: withPassword }));
      }
      expect(await ask()).toMatchObject({ code: 0, json: { ok: true, pending: [] } });
    });

    test("without the proxy's own credential nginx refuses it, and the proxy is named", async () => {
      using home = new CliHome();
      const refused = await home.run(`devices list --json --port ${nginx.port}`, { env: withToken });
      expect(refused).toMatchObject({
        code: 4,
        json: { error: { code: "upgrade-refused", details: { status: 403 } } },
      });
      expect(textAt(refused.json, "error", "hint")).toContain("--header");
    });

    test.each([
      ["nothing", {}],
      ["a token", withToken],
    ])("past the proxy with %s it is refused, and told about the password", async (_name, env) => {
      using home = new CliHome();
      const refused = await home.run(`devices list --json --port ${gateway.port}`, { env });
      expect(refused).toMatchObject({ code: 4, json: { error: { code: "unauthorized" } } });
      expect(textAt(refused.json, "error", "message")).toContain("trusted_proxy_missing_header_x-forwarded-proto");
      expect(textAt(refused.json, "error", "hint")).toContain("OPENCLAW_GATEWAY_PASSWORD");
    });

    test("past the proxy with the password", async ({ annotate }) => {
      using home = new CliHome();
      if (isOld) await annotate(noPath, "no");
      const answer = await home.run(`devices list --json --port ${gateway.port}`, { env: withPassword });
      expect(answer).toMatchObject(isOld ? { code: 4, json: unpassable } : { code: 0, json: { ok: true } });
    });
  });

  describe("our node -> its gateway in trusted-proxy mode", () => {
    test("through nginx, once it is approved, and again with its device token", async () => {
      using home = new CliHome();
      {
        await using node = startOurNode(home, nginx.port, { env: withAccess });
        const { deviceId } = await approveNode(owner, node);
        expect(await askNode(owner, deviceId, "system.which", { bins: ["sh"] })).toEqual(bins);
      }
      await using again = startOurNode(home, nginx.port, { env: withAccess });
      await again.event("ready");
      expect(again.events.items.some(({ event }) => event === "pairing-required")).toBe(false);
    });

    test("through a tunnel with the password", async ({ annotate }) => {
      using here = new CliHome();
      using there = new CliHome();
      await using tunnel = await openTunnel(sshd, here, `-R 0:127.0.0.1:${gateway.port}`);
      await using node = startOurNode(there, tunnel.port, { env: withPassword });
      if (isOld) await annotate(noPath, "no");
      const outcome = isOld ? node.ended.then(() => node.events.items.at(-1)) : approveNode(owner, node);
      expect(await outcome).toMatchObject(isOld ? unpassable : { event: "ready", gatewayVersion: version });
      expect((await node.stop()).code).toBe(isOld ? 4 : 0);
    });
  });
});

/** 2026.3.8 lets in whom the proxy names, without a device and with every scope asked for: so its owner's browser does it. */
async function callThroughProxy(port: number, method: string, params?: unknown): Promise<unknown> {
  await using client = await RawClient.open(`ws://127.0.0.1:${port}`, { "CF-Access-Client-Secret": accessSecret });
  const operator = { clientId: "gateway-client", mode: "backend", role: "operator", scopes: everyScope };
  const { ok, error } = await client.connect(operator);
  if (ok !== true) throw new Error(`connect: ${JSON.stringify(error)}`);
  return await client.call(method, params);
}
