/** Invites of ours and setup codes of the product's, each used by the other side's node. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { at, listAt, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { approveNode, askNode } from "./node-at-product.ts";
import { OurGateway } from "./our-gateway.ts";
import { ProductGateway, ProductHome } from "./product.ts";
import { interopVersions } from "./versions.ts";

describe.each(interopVersions)("%s", (version) => {
  /** 2026.3.8 knows no bootstrap tokens: its setup codes carry the gateway's own secret, and its node takes none. */
  const hasInvites = version !== "2026.3.8";

  describe("its node -> our gateway, by invite", () => {
    let gateway: OurGateway;
    const started = new AsyncDisposableStack();
    beforeAll(async () => {
      gateway = started.use(await OurGateway.start());
    });
    afterAll(() => started.disposeAsync());

    const invite = (flags = "") => gateway.ask(`pair invite --public-url ${gateway.url} ${flags}`);

    function startNode(home: ProductHome, code: string) {
      home.writeConfig({});
      return home.spawn(["node", "run", "--pair", code, "--display-name", "raspberry"]);
    }

    test("its node run --pair joins with an invite of ours, approved on both layers at once", async ({ annotate }) => {
      const made = await invite("--display-name kitchen");
      using home = new ProductHome(version);
      await using node = startNode(home, textAt(made, "link"));
      if (!hasInvites) {
        await node.line(/unknown option '--pair'/u);
        await annotate(`${version}'s node run has no --pair`, "no");
        return;
      }
      await gateway.nodeCameIn(0);
      expect(await gateway.ask("nodes list")).toMatchObject({
        nodes: [{ displayName: "kitchen", connected: true, commands: expect.arrayContaining(["system.which"]) }],
      });
      expect(await gateway.ask(`nodes invoke kitchen system.which --params '{"bins":["sh"]}'`)).toMatchObject({
        ok: true,
      });
      expect(listAt(await gateway.ask("pair list"), "pending")).toEqual([]);
      expect(await gateway.ask("pair invites")).toMatchObject({ invites: [{ state: "used", usedByName: "kitchen" }] });
    });

    test("it comes back with its device token when our gateway restarts", async ({ annotate }) => {
      if (!hasInvites) return void (await annotate(`${version}'s node run has no --pair`, "no"));
      using home = new ProductHome(version);
      const from = gateway.now;
      await using node = startNode(home, textAt(await invite(), "code"));
      await gateway.nodeCameIn(from);
      await gateway.restart();
      await gateway.nodeCameIn(0);
      expect(node.child.exitCode).toBeNull();
    });

    test("a used one is refused, and its node says so", async ({ annotate }) => {
      if (!hasInvites) return void (await annotate(`${version}'s node run has no --pair`, "no"));
      const link = textAt(await invite(), "link");
      using first = new ProductHome(version);
      const from = gateway.now;
      await using _node = startNode(first, link);
      await gateway.nodeCameIn(from);
      using second = new ProductHome(version);
      await using late = startNode(second, link);
      expect(await late.line(/the invite was used at/u)).toContain("raspberry");
    });
  });

  describe("our node -> its gateway, by its setup code", () => {
    let gateway: ProductGateway;
    const started = new AsyncDisposableStack();
    beforeAll(async () => {
      gateway = started.use(await ProductGateway.start({ version }));
    });
    afterAll(() => started.disposeAsync());

    const mint = async () =>
      textAt(
        await gateway.call("device.pair.setupCode", { publicUrl: gateway.url, bootstrapProfile: "node" }),
        "setupCode",
      );

    /** What its own `openclaw qr` prints. */
    async function codeOfItsCli(): Promise<string> {
      const { stdout } = await gateway.home.mustRun(["qr", "--setup-code-only", "--url", gateway.url]);
      return stdout.trim().split("\n").at(-1) ?? "";
    }

    test("pair verify reads its code, and what it leads to", async ({ annotate }) => {
      using home = new CliHome();
      const code = hasInvites ? await mint() : await codeOfItsCli();
      const { code: exit, json } = await home.run("pair verify --code-file - --json", { stdin: code });
      const isRead = { exit: 0, json: { url: gateway.url, digest: expect.stringMatching(/^sha256:/u) } };
      const message = expect.stringContaining("2026.3.8");
      const isRefused = { exit: 2, json: { error: { code: "usage", message } } };
      expect({ exit, json }).toMatchObject(hasInvites ? isRead : isRefused);
      if (!hasInvites)
        await annotate(`${version}'s setup code carries the gateway's own secret; ours refuses it and says so`, "no");
    });

    test("pair join joins with it, and node run serves later without it", async ({ annotate }) => {
      if (!hasInvites) return void (await annotate(`${version} has no bootstrap tokens`, "no"));
      using home = new CliHome();
      const joined = await home.run("pair join --code-file - --json", { stdin: await mint() });
      expect(joined).toMatchObject({ code: 0, json: { ok: true, gatewayVersion: version } });
      const nodeId = at(joined.json, "deviceId");
      await using node = home.start("node run --json");
      await node.event("ready");
      expect(await askNode(gateway, nodeId, "system.which", { bins: ["sh"] })).toMatchObject({
        bins: { sh: expect.any(String) },
      });
    });

    test("node run --pair with a code of openclaw qr, made for phones, waits for its owner and then goes on", async ({
      annotate,
    }) => {
      if (!hasInvites) return void (await annotate(`${version} has no bootstrap tokens`, "no"));
      using home = new CliHome();
      const code = await codeOfItsCli();
      await using node = home.start(["node", "run", "--json", "--pair", `oc-pair://${code}`]);
      const { deviceId } = await approveNode(gateway, node);
      expect(await askNode(gateway, deviceId, "system.which", { bins: ["sh"] })).toMatchObject({
        bins: { sh: expect.any(String) },
      });
    });

    test("a second device is refused with exit code 4, and asking about a code does not use it", async ({
      annotate,
    }) => {
      if (!hasInvites) return void (await annotate(`${version} has no bootstrap tokens`, "no"));
      using first = new CliHome();
      using second = new CliHome();
      const code = await mint();
      const asked = await first.run("pair verify --code-file - --online --json", { stdin: code });
      expect(asked).toMatchObject({ code: 10, json: { error: { code: "incompatible" } } });
      expect(await first.run("pair join --code-file - --json", { stdin: code })).toMatchObject({ code: 0 });
      expect(await second.run("pair join --code-file - --json", { stdin: code })).toMatchObject({
        code: 4,
        json: { error: { code: "bootstrap-invalid" } },
      });
    });

    test("pair invite has its gateway make one", async ({ annotate }) => {
      if (!hasInvites) return void (await annotate(`${version} has no bootstrap tokens`, "no"));
      using operator = new CliHome();
      using joining = new CliHome();
      const env = { OPENCLAW_GATEWAY_TOKEN: "the-shared-token-of-the-real-gateway" };
      const made = await operator.run(`pair invite --url ${gateway.url} --json`, { env });
      expect(made).toMatchObject({ code: 0, json: { ok: true, url: gateway.url } });
      const stdin = textAt(made.json, "code");
      expect(await joining.run("pair join --code-file - --json", { stdin })).toMatchObject({ code: 0 });
    });
  });
});
