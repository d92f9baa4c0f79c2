// A line of a difference: in both, only before, or only after.
export interface DiffLine { kind: " " | "-" | "+"; text: string }

const most = 400; // lines of either side that are compared

// diff is the shortest way from one text to the other, line by line.
export function diff(before: string, after: string): DiffLine[] {
  const a = before.split("\n").slice(0, most), b = after.split("\n").slice(0, most);
  const width = b.length + 1;
  const length = new Uint16Array((a.length + 1) * width); // of the longest common rest
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i * width + j] = a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1
        : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    }
  }
  const out: DiffLine[] = [];
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ kind: " ", text: a[i++] });
      j++;
    } else if (i < a.length && (j === b.length || length[(i + 1) * width + j] >= length[i * width + j + 1])) {
      out.push({ kind: "-", text: a[i++] });
    } else {
      out.push({ kind: "+", text: b[j++] });
    }
  }
  return out;
}
