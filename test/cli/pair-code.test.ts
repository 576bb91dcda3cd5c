/** Pairing by code: what both terminals show, what an approval by code is good for, and what it refuses. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { at, textAt } from "../support/raw-client.ts";
import { CliHome } from "../support/run-cli.ts";
import { type GatewayHome, NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

/** Another machine that has the gateway's token. */
class Laptop extends CliHome {
  ask(line: string): ReturnType<CliHome["run"]> {
    return this.run(`${line} --port ${home.tunnelPort}`, { env: { OPENCLAW_GATEWAY_TOKEN: home.token } });
  }
}

const operatorRequest = "pair request --scope operator.pairing";

test("the request and the list show the same digits and words, and approve takes either", async () => {
  using machine = new Laptop();
  const asked = await machine.ask(`${operatorRequest} --json`);
  const [digits, words] = [textAt(asked.json, "code"), textAt(asked.json, "words")];
  expect(digits).toMatch(/^\d{6}$/u);
  const { stdout } = await home.ask("pair list");
  expect(stdout).toContain(`${digits.slice(0, 3)} ${digits.slice(3)}, ${words}`);
  expect(await home.ask("pair approve 000000 --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found", hint: expect.stringContaining("code") } },
  });
  expect(await home.ask(`pair approve ${words} --json`)).toMatchObject({
    code: 0,
    json: {
      requestId: textAt(asked.json, "requestId"),
      deviceId: textAt(asked.json, "deviceId"),
      role: "operator",
      scopes: ["operator.pairing"],
      sas: { digits, words },
    },
  });
});

test("people read it in the text too", async () => {
  using machine = new Laptop();
  const { stdout } = await machine.ask(operatorRequest);
  const [, digits = ""] = /code (\d{3} \d{3}), \w+-\w+-\w+-\w+\)/u.exec(stdout) ?? [];
  expect(await home.ask(`devices approve '${digits}' --json`)).toMatchObject({ code: 0 });
});

test("a refused command shows the code with its hint", async () => {
  using machine = new Laptop();
  const refused = await machine.ask("devices list --json");
  const digits = textAt(at(at(at(refused.json, "error"), "details"), "sas"), "digits");
  expect(refused).toMatchObject({ code: 5, json: { error: { hint: expect.stringContaining(digits.slice(3)) } } });
  expect(await home.ask(`pair reject ${digits} --json`)).toMatchObject({ code: 0 });
});

test("a code whose request asks for more by now is refused with the difference", async () => {
  using machine = new Laptop();
  const asked = await machine.ask(`${operatorRequest} --json`);
  const wider = await machine.ask(`${operatorRequest} --scope operator.admin --json`);
  for (const wanted of [textAt(asked.json, "code"), textAt(asked.json, "requestId")]) {
    expect(await home.ask(`pair approve ${wanted} --json`)).toMatchObject({
      code: 9,
      json: {
        error: {
          code: "superseded",
          message: expect.stringContaining("also operator.admin"),
          fix: expect.stringContaining("openclaw pair list"),
          details: { difference: ["also operator.admin"] },
        },
      },
    });
  }
  expect((await home.ask("pair list --json")).json).toMatchObject({
    pending: [{ requestId: textAt(wider.json, "requestId") }],
  });
  await home.ask(`pair reject ${textAt(wider.json, "requestId")}`);
  expect(await home.ask(`pair approve ${textAt(wider.json, "requestId")} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "conflict", message: expect.stringContaining("rejected") } },
  });
});

test("a code is good for the request that took its place with the same key and less", async () => {
  using machine = new Laptop();
  const wide = await machine.ask("pair request --scope operator.admin --json");
  const before = textAt(wide.json, "requestId");
  // Another role, and then the first role with less: each takes the place of the one before.
  await machine.ask("pair request --role node --json");
  const narrow = await machine.ask(`${operatorRequest} --json`);
  const after = textAt(narrow.json, "requestId");
  expect(after).not.toBe(before);
  expect(await home.ask(`pair approve ${textAt(wide.json, "code")} --json`)).toMatchObject({
    code: 0,
    json: { requestId: after },
  });
});

test("what looks like a code is never a name that a device has given itself", async () => {
  using machine = new Laptop();
  const asked = await machine.ask(`${operatorRequest} --display-name 123456 --json`);
  expect(await home.ask("pair approve 123456 --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
  await succeed(home.ask(`pair reject ${textAt(asked.json, "requestId")}`));
});

test("a node shows its code, says who approved it, and goes on", async () => {
  await succeed(home.ask("devices list"));
  await using node = new NodeHome(home, "--display-name attic");
  const waiting = await node.running.event("pairing-required");
  const digits = textAt(waiting["sas"], "digits");
  await succeed(home.ask(`pair approve ${digits} --surface`));
  expect(await node.running.event("approved", 0, { layer: "device" })).toMatchObject({
    requestId: waiting["requestId"],
    by: expect.any(String),
  });
  expect(await node.running.event("approved", 0, { layer: "surface" })).toMatchObject({ by: expect.any(String) });
  await node.running.event("ready");
});
