import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/interop/**/*.interop.ts"],
    // The real gateway takes seconds to start, and some of its answers take longer: ceilings, not waits.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    maxWorkers: 2,
    env: { NO_COLOR: "1", OPENCLAW_STATE_DIR: "", OPENCLAW_GATEWAY_TOKEN: "", OPENCLAW_GATEWAY_URL: "" },
  },
});
