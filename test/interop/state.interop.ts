/** One state directory for both: ours reads what the product keeps there, takes its identity over, and changes not a byte of it. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { digestsOf } from "../support/digests.ts";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { runCli, RunningCli } from "../support/run-cli.ts";
import { asksTwice } from "./node-at-product.ts";
import { ProductGateway, ProductHome, productToken, startProductNode } from "./product.ts";
import { interopVersions } from "./versions.ts";

/** Our CLI on the machine of this home, with the state directory that the product uses. */
const onMachine = (home: ProductHome) => ({
  env: { PATH: process.env["PATH"], HOME: home.directory, OPENCLAW_STATE_DIR: home.stateDir, NO_COLOR: "1" },
});

/** Everything but what is ours. */
const productFiles = (home: ProductHome) => digestsOf(home.stateDir, ["toolkit"]);

describe.each(interopVersions)("%s", (version) => {
  let gateway: ProductGateway;
  beforeAll(async () => {
    gateway = await ProductGateway.start({ version });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
  });
  const ours = (line: string) => runCli(line, onMachine(gateway.home));

  describe("our CLI -> its state directory", () => {
    test("its openclaw.json tells our CLI the gateway's port and token", async () => {
      expect(await ours("config get gateway.port --json")).toMatchObject({
        json: { value: gateway.port, origin: "product-config", file: gateway.home.configFile },
      });
      expect(await ours("gateway status --json")).toMatchObject({
        code: 0,
        json: { url: `${gateway.url}/`, reachable: true },
      });
      expect(await ours("devices list --json")).toMatchObject({ code: 0, json: { ok: true } });
    });

    test("the token that its CLI was given, where it was given one, is imported and gets in", async (context) => {
      using home = new ProductHome(version);
      home.writeConfig({ gateway: { mode: "remote", remote: { url: gateway.url } } });
      const list = ["devices", "list", "--json", "--url", gateway.url, "--token", productToken];
      expect((await home.cli(list)).code).toBe(0);
      const usesDevice = version === "2026.3.8";
      if (!usesDevice)
        await context.annotate(
          `${version}'s CLI needs no device on loopback: it has no key and no token to import`,
          "no",
        );
      expect(await runCli("identity import --from-openclaw --json", onMachine(home))).toMatchObject(
        usesDevice
          ? { code: 0, json: { tokens: [{ gateway: gateway.url, role: "operator", used: true }] } }
          : { code: 9, json: { error: { code: "not-found" } } },
      );
      const { code } = await runCli("devices list --json", onMachine(home)); // with nothing else to show
      expect(code === 0).toBe(usesDevice);
    });

    test("its identity and its node's token are imported and get in", async () => {
      using home = new ProductHome(version);
      home.writeConfig({ gateway: { mode: "remote", remote: { url: gateway.url } } });
      await pairProductNode(gateway, home);
      const before = productFiles(home);
      const { json } = await runCli("identity import --from-openclaw --json", onMachine(home));
      expect(json).toMatchObject({
        ok: true,
        source: { kind: version === "2026.3.8" ? "json" : "sqlite" },
        tokens: [{ gateway: gateway.url, role: "node", used: true }],
      });
      const deviceId = textAt(json, "deviceId");
      expect(await runCli("identity list --json", onMachine(home))).toMatchObject({
        json: {
          identities: [
            { source: "toolkit", deviceId },
            { source: "openclaw", deviceId },
          ],
        },
      });
      await using node = new RunningCli(`node run --json --port ${gateway.port}`, onMachine(home));
      if (asksTwice(version)) {
        const { requestId } = await node.event("pairing-required", 0, { layer: "surface" });
        await gateway.call("node.pair.approve", { requestId });
      }
      expect(await node.event("ready")).toMatchObject({ deviceId });
      expect(node.events.items).not.toContainEqual(expect.objectContaining({ layer: "device" }));
      expect((await node.stop()).code).toBe(0);
      expect(productFiles(home)).toEqual(before);
    });
  });

  describe("both in one state directory", () => {
    test("while its gateway runs, our CLI reads what it keeps and changes no byte of it", async () => {
      const { home, process } = gateway;
      expect((await home.cli(["devices", "list", "--json"])).code).toBe(0); // makes the older version's identity
      process.child.kill("SIGSTOP"); // it writes now and then: what changes from here on is our doing
      try {
        const before = productFiles(home);
        expect((await ours("config list --json")).code).toBe(0);
        expect(await ours("identity list --json")).toMatchObject({ json: { identities: [{ source: "openclaw" }] } });
        expect(await ours("identity import --from-openclaw --json")).toMatchObject({ code: 0, json: { ok: true } });
        expect(productFiles(home)).toEqual(before);
      } finally {
        process.child.kill("SIGCONT");
      }
      expect(await ours("devices list --json")).toMatchObject({ code: 0, json: { ok: true } });
    });

    test("our gateway, node and CLI change no byte of its files, and its doctor has nothing new to say", async () => {
      const { home } = gateway;
      await gateway.process.stop(); // so that nobody else writes
      const complaints = await doctor(home);
      const before = productFiles(home);
      expect(Object.keys(before)).toContain("openclaw.json");
      await useEverything(home);
      expect(productFiles(home)).toEqual(before);
      expect(await doctor(home)).toEqual(complaints);
      await gateway.restart();
      expect(await ours("devices list --json")).toMatchObject({ code: 0, json: { ok: true } });
    });
  });
});

/** Lets the product's node in, and stops it once it has its token. */
async function pairProductNode(gateway: ProductGateway, home: ProductHome): Promise<void> {
  for (;;) {
    await using node = startProductNode(home, { port: gateway.port });
    for (;;) {
      const state: unknown = await gateway.call("device.pair.list");
      const requests = listAt(state, "pending");
      for (const request of requests)
        await gateway.call("device.pair.approve", { requestId: textAt(request, "requestId") });
      if (requests.length > 0) break; // not every version goes on by itself
      const hasToken = (await runCli("identity import --from-openclaw --json", onMachine(home))).json;
      if (at(hasToken, "tokens", "0") !== undefined) {
        await node.stop();
        return;
      }
      await delay(100);
    }
  }
}

/** What its doctor finds. Newer versions have a form of it that only reads; the older one's plain form changes nothing unasked. */
async function doctor(home: ProductHome): Promise<unknown> {
  const isNew = home.version !== "2026.3.8";
  const { stdout, json } = await home.cli(isNew ? ["doctor", "--lint", "--json"] : ["doctor", "--non-interactive"]);
  return isNew ? listAt(json, "findings") : stdout;
}

/** Our gateway, a node at it, and commands of every kind, all with this state directory. */
async function useEverything(home: ProductHome): Promise<void> {
  const machine = onMachine(home);
  const run = async (line: string) => {
    const { code, stdout, stderr } = await runCli(line, machine);
    if (code !== 0) throw new Error(`${line} ended with ${code}: ${stdout}${stderr}`);
  };
  for (const line of ["config list", "identity list", "identity import --from-openclaw --force", "identity show"])
    await run(line);
  await run("config set node.displayName both");
  await using gateway = new RunningCli("gateway run --port 0 --json", machine);
  const { port } = await gateway.event("ready");
  await using node = new RunningCli(`node run --json --port ${String(port)}`, machine);
  const { requestId } = await node.event("pairing-required");
  await run(`pair approve ${String(requestId)} --surface --port ${String(port)}`);
  await node.event("ready");
  await run(`nodes invoke both system.which --params '{"bins":["sh"]}' --port ${String(port)}`);
  await run(`devices list --port ${String(port)}`);
  await run("node status");
}
