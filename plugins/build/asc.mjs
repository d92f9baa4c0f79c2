// Runs AssemblyScript's compiler, which is the module that the first argument
// names. Each line of stdin is a request {"dir": "…", "args": ["…"]}: compile in
// that directory. Each gets a line on stdout: {"ok": true, "text": "…"}, with what
// the compiler has printed. With the second argument "once" there is one request.
//
// A compiler that has run a few times takes a third of the time. One that runs once
// is best off without V8's optimizing compiler, which for that long only takes the
// processor away from it.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import v8 from "node:v8";

const [, compiler, times] = process.argv;
if (times === "once") v8.setFlagsFromString("--liftoff-only");

// What a transform prints belongs to the text, too.
const answer = process.stdout.write.bind(process.stdout);
let text = "";
const stream = {
  write(chunk, encoding, done) {
    text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString();
    if (typeof encoding === "function") done = encoding;
    if (typeof done === "function") process.nextTick(done);
    return true;
  },
};
process.stdout.write = stream.write;
process.stderr.write = stream.write;

const asc = await import(pathToFileURL(compiler).href);

for await (const line of createInterface({ input: process.stdin })) {
  const { dir, args } = JSON.parse(line);
  process.chdir(dir);
  text = "";
  const { error } = await asc.main(args, { stdout: stream, stderr: stream });
  answer(JSON.stringify({ ok: !error, text }) + "\n");
  if (times === "once") break;
}
process.stdin.destroy();
