import { expect, test } from "vitest";
import { type CodeRound, codeOf, maxCodeRounds, nextRound, offerOf } from "../../src/pairing/code-rounds.ts";
import { commitmentTo, pairingCode, type SasAnswer } from "../../src/protocol/sas.ts";

const key = (fill: number) => Buffer.alloc(32, fill).toString("base64url");
const gatewayKey = key(1);
const deviceKey = key(2);

/** Nonces that tell themselves apart. */
function nonces(): () => string {
  let last = 100;
  return () => key(++last);
}

const answerTo = (round: CodeRound, nonce = key(50)): SasAnswer => ({
  commitment: commitmentTo({ gatewayKey, gatewayNonce: round.gatewayNonce }),
  nonce,
});

test("the nonce is told only to the answer that settled the round", () => {
  const fresh = nonces();
  const first = nextRound(undefined, undefined, gatewayKey, fresh);
  const { commitment } = answerTo(first);
  expect(offerOf(first, undefined, gatewayKey)).toEqual({ gatewayKey, commitment });
  expect(codeOf({ publicKey: deviceKey, round: first }, gatewayKey)).toBeUndefined();
  // A device that has not heard of it yet.
  expect(nextRound(first, undefined, gatewayKey, fresh)).toBe(first);

  const settled = nextRound(first, answerTo(first), gatewayKey, fresh);
  const { gatewayNonce } = first;
  expect(offerOf(settled, answerTo(first), gatewayKey)).toEqual({ gatewayKey, commitment, gatewayNonce });
  expect(offerOf(settled, undefined, gatewayKey)).toEqual({ gatewayKey, commitment });
  expect(codeOf({ publicKey: deviceKey, round: settled }, gatewayKey)).toEqual(
    pairingCode({ deviceKey, gatewayKey, deviceNonce: key(50), gatewayNonce }),
  );
  expect(nextRound(settled, answerTo(first), gatewayKey, fresh)).toBe(settled);
});

test("an answer to another commitment settles nothing", () => {
  const fresh = nonces();
  const round = nextRound(undefined, undefined, gatewayKey, fresh);
  const stranger = { commitment: key(9), nonce: key(50) };
  expect(nextRound(round, stranger, gatewayKey, fresh)).toBe(round);
  expect(offerOf(round, stranger, gatewayKey)).not.toHaveProperty("gatewayNonce");
});

test("who answers a settled round with another nonce begins a new one, and has no second look at the old one", () => {
  const fresh = nonces();
  const first = nextRound(undefined, undefined, gatewayKey, fresh);
  const settled = nextRound(first, answerTo(first), gatewayKey, fresh);
  const late = answerTo(first, key(51));
  const next = nextRound(settled, late, gatewayKey, fresh);
  expect(next.gatewayNonce).not.toBe(first.gatewayNonce);
  expect(next).not.toHaveProperty("deviceNonce");
  expect(offerOf(next, late, gatewayKey)).not.toHaveProperty("gatewayNonce");
});

test("there are only so many rounds, and a request that takes another's place inherits them", () => {
  const fresh = nonces();
  let round = nextRound(undefined, undefined, gatewayKey, fresh);
  for (let guess = 1; guess < maxCodeRounds; guess++) {
    expect(offerOf(round, undefined, gatewayKey)).toBeDefined();
    round = nextRound(
      nextRound(round, answerTo(round), gatewayKey, fresh),
      answerTo(round, key(51)),
      gatewayKey,
      fresh,
    );
  }
  expect(round.count).toBe(maxCodeRounds);
  expect(offerOf(round, undefined, gatewayKey)).toBeDefined();
  const successor = nextRound(undefined, undefined, gatewayKey, fresh, round.count);
  expect(successor.count).toBe(maxCodeRounds + 1);
  expect(offerOf(successor, answerTo(successor), gatewayKey)).toBeUndefined();
});
