/**
 * Part of every test: its frames are held to the JSON schemas that the product publishes (npm @openclaw/gateway-protocol). When one that
 * we sent or took does not fit, the test fails, unless that is listed with its reason (wire-deviations.ts).
 */
import { afterAll, afterEach, expect } from "vitest";
import type { FrameCheck } from "./frame-check.ts";
import { takeAnnounced } from "./on-purpose.ts";
import { type WireText, watchWires } from "./wire-watch.ts";

/** Below the frames: there, any text goes over a WebSocket. */
const roomsWithoutFrames = /\/test\/transport\//u;

const heard: WireText[] = [];
let frames: FrameCheck | undefined;

watchWires((said) => heard.push(said));
afterEach(expectFramesThatFit);
afterAll(expectFramesThatFit); // what was said while the connections of a whole file were closed

async function expectFramesThatFit(): Promise<void> {
  const texts = heard.splice(0);
  const announced = takeAnnounced();
  if (texts.length === 0 && announced.size === 0) return;
  if (roomsWithoutFrames.test(expect.getState().testPath ?? "")) return;
  const { FrameCheck, misfits } = await import("./frame-check.ts"); // which many tests do not need
  frames ??= new FrameCheck();
  const wrong = misfits(frames.check(texts), announced);
  if (wrong.length > 0) throw new Error(["frames that do not fit the published schemas:", ...wrong].join("\n  "));
}
