/** Pairing codes from both sides, and with somebody in between. */
import { expect, test } from "vitest";
import { CodeAgreement } from "../../src/client/code-agreement.ts";
import { OpenClawError } from "../../src/errors.ts";
import { maxCodeRounds } from "../../src/pairing/code-rounds.ts";
import { type PairingCode } from "../../src/protocol/pairing-code.ts";
import { commitmentTo, pairingCode, readSasOffer, type SasAnswer } from "../../src/protocol/sas.ts";
import { at, listAt, makeDevice, type RawDevice, textAt } from "../support/raw-client.ts";
import { sharedToken, startGateway, temporaryStore, type World } from "../support/world.ts";

const auth = { token: sharedToken };
const nonce = (fill: number) => Buffer.alloc(32, fill).toString("base64url");

/** The details of the refusal that a waiting device gets. */
async function refused(world: World, device: RawDevice, sas?: SasAnswer, more: object = {}): Promise<unknown> {
  const { client, response } = await world.connect({ device, auth, ...more, more: sas === undefined ? {} : { sas } });
  await client.closed;
  return response.error?.details;
}

/** How the client asks: a refusal is a failure with the details. */
function asking(world: World, device: RawDevice) {
  return async (sas: SasAnswer | undefined): Promise<never> => {
    const details = (await refused(world, device, sas)) as Record<string, unknown>;
    throw new OpenClawError("pairing-required", "pairing required", { details });
  };
}

async function codeOfDevice(
  world: World,
  device: RawDevice,
  agreement = new CodeAgreement(),
): Promise<PairingCode | undefined> {
  const error: unknown = await agreement
    .around(device.publicKey, asking(world, device))
    .catch((reason: unknown) => reason);
  if (!(error instanceof OpenClawError) || error.code !== "pairing-required") throw error;
  return error.details?.["sas"] as PairingCode | undefined;
}

async function codesAtGateway(world: World): Promise<readonly unknown[]> {
  const operator = await world.operator();
  return listAt(await operator.call("device.pair.list"), "pending").map((request) => at(request, "sas"));
}

test("both ends have the same code, and it stays while the device waits", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const agreement = new CodeAgreement();
  const code = await codeOfDevice(world, device, agreement);
  expect(code).toEqual({
    digits: expect.stringMatching(/^\d{6}$/u),
    words: expect.stringMatching(/^(?:[a-z]+-){3}[a-z]+$/u),
  });
  expect(await codesAtGateway(world)).toEqual([code]);
  expect(await codeOfDevice(world, device, agreement)).toEqual(code);
  expect(await codesAtGateway(world)).toEqual([code]);
});

test("a device that starts again gets a new code, and both ends have that one", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const first = await codeOfDevice(world, device);
  const second = await codeOfDevice(world, device);
  expect(second?.words).not.toBe(first?.words);
  expect(await codesAtGateway(world)).toEqual([second]);
});

test("the code survives a restart of the gateway", async () => {
  using store = temporaryStore();
  const device = makeDevice();
  const agreement = new CodeAgreement();
  let identity;
  let code;
  {
    await using world = await startGateway({ store: store.path });
    identity = world.gateway.identity;
    code = await codeOfDevice(world, device, agreement);
  }
  await using world = await startGateway({ store: store.path, identity });
  expect(await codeOfDevice(world, device, agreement)).toEqual(code);
  expect(await codesAtGateway(world)).toEqual([code]);
});

test("the gateway's nonce is not told before the device's is known", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const first = readSasOffer(at(await refused(world, device), "sas"));
  expect(first).toEqual({ gatewayKey: world.gateway.identity.publicKey, commitment: expect.any(String) });
  const { commitment = "" } = first ?? {};
  const told = readSasOffer(at(await refused(world, device, { commitment, nonce: nonce(5) }), "sas"));
  const { gatewayKey = "", gatewayNonce = "" } = told ?? {};
  expect(commitmentTo({ gatewayKey, gatewayNonce })).toBe(commitment);
  expect(await codesAtGateway(world)).toEqual([
    pairingCode({ deviceKey: device.publicKey, gatewayKey, deviceNonce: nonce(5), gatewayNonce }),
  ]);
});

test("somebody in between cannot try more codes than there are rounds", async () => {
  await using world = await startGateway();
  const device = makeDevice();
  const seen = new Set<string>();
  for (let round = 0; round < maxCodeRounds + 3; round++) {
    const code = await codeOfDevice(world, device);
    if (code !== undefined) seen.add(code.words);
  }
  expect(seen.size).toBeLessThanOrEqual(maxCodeRounds);
  expect(seen.size).toBeGreaterThan(1);
  // A request for more in its place does not begin to count anew.
  const details = await refused(world, device, undefined, {
    role: "operator",
    clientId: "openclaw-tui",
    mode: "ui",
    scopes: ["operator.read"],
  });
  expect(textAt(details, "requestId")).not.toBe("");
  expect(at(details, "sas")).toBeUndefined();
});

test("a gateway that does not keep to its commitment is found out", async () => {
  const device = makeDevice();
  const gatewayKey = nonce(1);
  const commitment = commitmentTo({ gatewayKey, gatewayNonce: nonce(2) });
  const liar = async (answer: SasAnswer | undefined): Promise<never> => {
    const sas = answer === undefined ? { gatewayKey, commitment } : { gatewayKey, commitment, gatewayNonce: nonce(3) };
    throw new OpenClawError("pairing-required", "pairing required", { details: { sas } });
  };
  await expect(new CodeAgreement().around(device.publicKey, liar)).rejects.toMatchObject({ code: "protocol" });
});

test("a gateway that always has another commitment is not asked for ever", async () => {
  let connects = 0;
  const restless = async (): Promise<never> => {
    const sas = { gatewayKey: nonce(1), commitment: nonce(++connects) };
    throw new OpenClawError("pairing-required", "pairing required", { details: { sas, requestId: "r" } });
  };
  const failure: unknown = await new CodeAgreement().around(nonce(9), restless).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "pairing-required", details: { requestId: "r" } });
  expect(at(at(failure, "details"), "sas")).toBeUndefined();
  expect(connects).toBe(4);
});

test.each([{ commitment: "short", nonce: nonce(1) }, { commitment: nonce(1) }, "code", 7])(
  "an answer that is none, %j, is refused with its place",
  async (sas) => {
    await using world = await startGateway();
    const { response } = await world.connect({ device: makeDevice(), auth, more: { sas } });
    expect(response.error).toMatchObject({ code: "INVALID_REQUEST", message: expect.stringContaining("sas") });
  },
);

test("a request is found by its code when it is over too, with what took its place", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  const device = makeDevice();
  const code = await codeOfDevice(world, device);
  const wider = { role: "operator", clientId: "openclaw-tui", mode: "ui", scopes: ["operator.admin"] };
  await refused(world, device, undefined, wider);
  const find = async (request: string) => listAt(await operator.call("device.pair.lookup", { request }), "requests");
  expect(await find(code?.digits ?? "")).toMatchObject([
    { state: "superseded", role: "node", sas: code },
    { state: "waiting", role: "operator", scopes: ["operator.admin"] },
  ]);
  expect(JSON.stringify(await find(code?.words ?? ""))).not.toMatch(/nonce|round/iu);
  expect(await find("nobody")).toEqual([]);
});
