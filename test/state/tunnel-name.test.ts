import * as fc from "fast-check";
import { expect, test } from "vitest";
import { checkTunnelName, defaultTunnelName, fileNameOf, tunnelNameIn } from "../../src/state/tunnel-name.ts";

test.each(["a", "cloud", "me@cloud.example:22", "A-b_c.d", "0", "x".repeat(64)])("%j is a name", (name) => {
  expect(checkTunnelName(name)).toBe(name);
});

test.each(["", ".", "..", "-x", "a/b", "a b", "a\nb", "a+b", "ä", "x".repeat(65), "../x", "a\u0000"])(
  "%j is no name",
  (name) => {
    expect(() => checkTunnelName(name)).toThrow("cannot be the name of a tunnel");
  },
);

test("a destination becomes a name whatever it holds, and no name that is taken", () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 20 }), (destination, others) => {
      const taken = new Set<string>();
      for (let at = 0; at < others; at++) taken.add(defaultTunnelName(destination, taken));
      const name = defaultTunnelName(destination, taken);
      expect(taken.size).toBe(others);
      expect(taken.has(name)).toBe(false);
      expect(checkTunnelName(name)).toBe(name);
    }),
  );
});

test("a name comes back from its file's name", () => {
  const names = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._@:-]{0,63}$/u);
  fc.assert(fc.property(names, (name) => tunnelNameIn(fileNameOf(name)) === name));
  expect(tunnelNameIn("../x")).toBeUndefined();
});
