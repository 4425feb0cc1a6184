// Of the page's own components; gradio calls it with `element`, `trigger` and `upload`.
const LARGEST = MAX_BYTES;

function place(event, box) {
  const r = box.getBoundingClientRect();
  const clip = (v) => Math.min(Math.max(v, 0), 1);
  return { x: clip((event.clientX - r.left) / r.width), y: clip((event.clientY - r.top) / r.height) };
}

async function take(file) {
  if (!file) return;
  if (file.size > LARGEST) {
    trigger('refused', { name: file.name });
    return;
  }
  try {
    const sent = await upload(file);
    trigger('uploaded', { upload: sent.path, name: file.name });
  } catch (error) {
    trigger('refused', { name: file.name });
  }
}

element.addEventListener('click', (event) => {
  const canvas = event.target.closest('.st-canvas');
  if (canvas) trigger('point', place(event, canvas));
  const sheet = event.target.closest('.st-sheet');
  if (sheet) {
    const { x, y } = place(event, sheet);
    const { columns, rows, count } = sheet.dataset;
    const row = Math.min(Math.floor(y * rows), rows - 1);
    const number = row * columns + Math.min(Math.floor(x * columns), columns - 1);
    if (number < count) trigger('chosen', { number });
  }
  const example = event.target.closest('.st-examples button');
  if (example) trigger('example', { number: Number(example.dataset.number) });
});
element.addEventListener('change', (event) => {
  if (event.target.type !== 'file') return;
  take(event.target.files[0]);
  event.target.value = '';
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  element.addEventListener(kind, (event) => {
    const drop = event.target.closest('.st-drop');
    if (!drop) return;
    event.preventDefault();
    drop.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') take(event.dataTransfer.files[0]);
  });
}
