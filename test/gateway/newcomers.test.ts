import { Socket } from "node:net";
import { expect, test } from "vitest";
import { type NewcomerLimit, Newcomers } from "../../src/gateway/arrival/newcomers.ts";
import { testRuntime } from "../support/world.ts";

/** Counts of cut connections and of the lines about them, and a way to come from an address. */
function arrivals(maxNewcomersPerAddress: number, maxNewcomers: number) {
  const runtime = testRuntime();
  const cut: NewcomerLimit[] = [];
  const told: number[] = [];
  const newcomers = new Newcomers({
    limits: () => ({ maxNewcomersPerAddress, maxNewcomers }),
    standsForMany: (address) => address === "127.0.0.1",
    runtime,
    cut: (limit) => cut.push(limit),
    tell: (_socket, _limit, count) => told.push(count),
  });
  let port = 1024;
  const come = (remoteAddress: string) => {
    const socket = Object.defineProperties(new Socket(), {
      remoteAddress: { value: remoteAddress },
      remotePort: { value: ++port },
    });
    newcomers.arrive(socket);
    return socket;
  };
  const times = (count: number, address: string) => Array.from({ length: count }, () => come(address));
  return { newcomers, runtime, cut, told, come, times };
}

const alive = (sockets: readonly Socket[]) => sockets.filter(({ destroyed }) => !destroyed).length;

test("an address that has too many gets no more, and another one is not concerned", () => {
  const { cut, come, times } = arrivals(3, 10);
  expect(alive(times(5, "192.0.2.1"))).toBe(3);
  expect(cut).toEqual(["address", "address"]);
  expect(come("192.0.2.2").destroyed).toBe(false);
});

test("the addresses of one IPv6 network count as one, an IPv4 address counts in either spelling", () => {
  const { come } = arrivals(2, 10);
  expect(["2001:db8::1", "2001:db8::2", "2001:db8::3"].map((one) => come(one).destroyed)).toEqual([false, false, true]);
  expect(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"].map((one) => come(one).destroyed)).toEqual([
    false,
    false,
    true,
  ]);
});

test("who has shown who it is counts no more, and neither does who is gone", async () => {
  const { newcomers, come, times } = arrivals(2, 10);
  const [one, two] = times(2, "192.0.2.1");
  if (one === undefined || two === undefined) throw new Error("nobody came");
  newcomers.known(one);
  expect(come("192.0.2.1").destroyed).toBe(false);
  const gone = new Promise((resolve) => two.once("close", resolve));
  two.destroy();
  await gone;
  expect(come("192.0.2.1").destroyed).toBe(false);
  expect(newcomers.size).toBe(2);
  expect(one.listenerCount("close")).toBe(0);
});

test("when the house is full, the oldest of those that fill it makes room, and nobody else has to", () => {
  const { newcomers, cut, come, times } = arrivals(4, 6);
  const quiet = come("192.0.2.9");
  const crowds = [times(4, "192.0.2.1"), times(4, "192.0.2.2")];
  expect(crowds.map(alive)).toEqual([2, 3]);
  expect(quiet.destroyed).toBe(false);
  expect(crowds[0]?.map(({ destroyed }) => destroyed)).toEqual([true, true, false, false]);
  expect(cut).toEqual(["total", "total", "total"]);
  expect(newcomers.size).toBe(6);
});

test("an address behind which many stand may have all the room that there is, and whoever comes there comes in", () => {
  const { come, times } = arrivals(2, 5);
  const crowd = times(8, "127.0.0.1");
  expect(crowd.map(({ destroyed }) => destroyed)).toEqual([true, true, true, false, false, false, false, false]);
  expect(come("127.0.0.1").destroyed).toBe(false);
});

test("a storm is one line a minute, which says how many there were since the last one", () => {
  const { runtime, cut, told, times } = arrivals(1, 5);
  times(1001, "192.0.2.1");
  expect(told).toEqual([1]);
  runtime.advance(61_000);
  times(1, "192.0.2.1");
  expect(told).toEqual([1, 1000]);
  expect(cut).toHaveLength(1001);
});
