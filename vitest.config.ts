import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/every-frame.ts"],
    // Real servers and real processes: generous ceilings, no retries. A slow machine is not a failure.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // The suite must not depend on who runs it: no credentials, profile or colour settings of the caller.
    env: { NO_COLOR: "1", OPENCLAW_STATE_DIR: "", OPENCLAW_GATEWAY_TOKEN: "", OPENCLAW_GATEWAY_URL: "" },
    coverage: { provider: "v8", include: ["src/**"] },
  },
});
