"""Label maps of pictures by an exported model: python run.py picture.jpg ... --out folder."""

import argparse
import json
import sys
from pathlib import Path

import merging  # the file beside this one
import numpy as np
from onnxruntime import InferenceSession, get_available_providers
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
MODEL = json.loads((HERE / 'model.json').read_text(encoding='utf-8'))


def read(file):
    """A picture of Pillow, upright, in RGB of 8 bits."""
    picture = ImageOps.exif_transpose(Image.open(file))
    if picture.mode.startswith('I'):  # of 16 bits
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert('RGB')


def look(encoder, decoder, picture):
    """What the decoder gives for (a part of) a picture, by name."""
    whole = picture.size[::-1]
    rows, columns = size = merging.resized_size(whole, MODEL['resize'])
    frame = MODEL['frame'] or [-(-side // MODEL['divisor']) * MODEL['divisor'] for side in size]
    if not (0 < rows <= frame[0] and 0 < columns <= frame[1]):
        raise ValueError(f'{whole} pixels (height, width) do not fit into the frame, {frame}')
    canvas = np.zeros((1, *frame, 3), np.uint8)
    canvas[0, :rows, :columns] = picture.resize((columns, rows), Image.Resampling.BILINEAR)
    features = encoder.run(None, {'pixels': canvas, 'size': np.array(size, np.int64)})
    values = [*features, np.array(size, np.int64), np.array(whole, np.int64)]
    feeds = {each.name: value for each, value in zip(decoder.get_inputs(), values)}
    names = [each.name for each in decoder.get_outputs() if each.name != 'score']
    return dict(zip(names, (each[0] for each in decoder.run(names, feeds))))


def main():
    """Predict what the command line names; the status is 1 if a picture cannot be read."""
    parser, status = argparse.ArgumentParser(description=__doc__), 0
    parser.add_argument('pictures', nargs='+', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    files, providers = [HERE / 'encoder.onnx', HERE / 'decoder.onnx'], get_available_providers()
    graphs = [InferenceSession(str(file), providers=providers) for file in files]
    for file, target in merging.name_results(args.pictures, args.out):
        try:
            found = merging.predict(lambda part: look(*graphs, part), read(file), MODEL)
            merging.write(found, target)
        except Exception as error:  # of whatever kind: the other pictures go on
            print(f'{file}: {error}', file=sys.stderr)
            status = 1
    return status


if __name__ == '__main__':
    sys.exit(main())
