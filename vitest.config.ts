import { defineConfig } from "vitest/config";

// Two projects: `fast` needs no server and stays under ten seconds; `servers` talks to the real peers.
export default defineConfig({
  test: {
    reporters: ["default", "./test/countReporter.ts"],
    projects: [
      { test: { name: "fast", include: ["test/fast/**/*.test.ts"] } },
      {
        test: {
          name: "servers",
          include: ["test/servers/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
