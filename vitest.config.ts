import { defineConfig } from "vitest/config";

// `fast` needs no server and stays under ten seconds; `simulation` drives the whole engine in memory through crashes,
// races and lost tables; `servers` talks to the real peers.
export default defineConfig({
  test: {
    reporters: ["default", "./test/countReporter.ts"],
    projects: [
      { test: { name: "fast", include: ["test/fast/**/*.test.ts"], testTimeout: 30_000 } },
      { test: { name: "simulation", include: ["test/simulation/**/*.test.ts"], testTimeout: 120_000 } },
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
