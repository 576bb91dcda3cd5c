/** The real CLI and the real node at our gateway with a password in place of the token, and over TLS with a certificate that only its fingerprint vouches for. */
import { describe, expect, test } from "vitest";
import { createCertificate } from "../fixtures/certificate.ts";
import { at } from "../support/raw-client.ts";
import { OurGateway, type OurGatewayOptions, ourPassword, ourToken } from "./our-gateway.ts";
import { ProductHome, type ProductProcess, type ProductResult } from "./product.ts";
import { interopVersions } from "./versions.ts";

const answer = { bins: { sh: expect.stringMatching(/\/sh$/u) } };
const which = `nodes invoke kitchen system.which --params '{"bins":["sh"]}'`;

describe.each(interopVersions)("%s", (version) => {
  /** Pairs its node, as often started again as this version needs, and has it asked. */
  const pairAndAsk = async (gateway: OurGateway, start: () => ProductProcess): Promise<unknown> => {
    await using stack = new AsyncDisposableStack();
    const from = gateway.now;
    const first = stack.use(start());
    const refused = await first.line(/pairing required: .*\(requestId: \S+\)/u);
    await gateway.ask(`pair approve ${/requestId: ([\w-]+)/u.exec(refused)?.[1] ?? ""}`);
    if (version === "2026.3.8") {
      await first.ended;
      stack.use(start());
    }
    await gateway.nodeCameIn(from);
    await gateway.approveSurfaces();
    return at(await gateway.ask(which), "payload");
  };

  const withGateway = async (
    options: OurGatewayOptions,
    use: (gateway: OurGateway, home: ProductHome) => Promise<void>,
  ): Promise<void> => {
    await using gateway = await OurGateway.start(options);
    using home = new ProductHome(version);
    home.writeConfig({});
    await use(gateway, home);
  };

  describe("its CLI and its node -> our gateway, with a password", () => {
    test("its CLI gets in with it, and with no other", () =>
      withGateway({ auth: "password" }, async ({ url }, home) => {
        const list = (password: string) =>
          home.cli(["devices", "list", "--json", "--url", url, "--password", password]);
        expect(await list(ourPassword)).toMatchObject({ code: 0, json: { pending: expect.any(Array) } });
        const wrong = await list("wrong");
        expect([wrong.code, said(wrong)]).toEqual([1, expect.stringMatching(/password mismatch/iu)]);
      }));

    test("its node is paired and asked", () =>
      withGateway({ auth: "password" }, async (gateway, home) => {
        const start = () => home.spawn(nodeRun(gateway.port), { OPENCLAW_GATEWAY_PASSWORD: ourPassword });
        expect(await pairAndAsk(gateway, start)).toEqual(answer);
      }));
  });

  describe("its CLI and its node -> our gateway, over TLS", () => {
    const certificate = createCertificate("IP:127.0.0.1");
    const token = { OPENCLAW_GATEWAY_TOKEN: ourToken };

    test("its CLI gets in with the fingerprint in its configuration, and not without", ({ annotate }) =>
      withGateway({ certificate }, async ({ url }, home) => {
        const remote = (tlsFingerprint?: string) =>
          home.writeConfig({ gateway: { mode: "remote", remote: { url, token: ourToken, tlsFingerprint } } });
        remote(certificate.fingerprint);
        const isIn = await home.cli(["devices", "list", "--json"]);
        expect(isIn).toMatchObject({ code: 0, json: { pending: expect.any(Array) } });
        remote();
        const refused = await home.cli(["devices", "list", "--json"]);
        const tellsWhy = version !== "2026.3.8";
        if (!tellsWhy) await annotate(`${version} does not say that it is the certificate: it reports close code 1006`);
        const why = tellsWhy ? /self[- ]signed/iu : /gateway closed \(1006 /u;
        expect([refused.code, said(refused)]).toEqual([1, expect.stringMatching(why)]);
      }));

    test("its node is paired and asked with the fingerprint on its command line, and not let near another one", () =>
      withGateway({ certificate }, async (gateway, home) => {
        const start = (fingerprint: string) =>
          home.spawn([...nodeRun(gateway.port), "--tls", "--tls-fingerprint", fingerprint], token);
        {
          await using wrong = start("00".repeat(32));
          await wrong.line(/fingerprint mismatch/iu);
        }
        expect(await pairAndAsk(gateway, () => start(certificate.fingerprint))).toEqual(answer);
      }));
  });
});

function nodeRun(port: number): string[] {
  return ["node", "run", "--host", "127.0.0.1", "--port", String(port), "--display-name", "kitchen"];
}

function said({ stdout, stderr }: ProductResult): string {
  return stdout + stderr;
}
