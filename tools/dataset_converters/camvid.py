"""Arrange the original CamVid as SegNet did: splits in folders, 11 classes and void.

python tools/dataset_converters/camvid.py path/to/original --out-dir data/CamVid --size 480 360

The original has pictures in 701_StillsRaw_full/NAME.png and colour masks of 32 classes in
LabeledApproved_full/NAME_L.png. The result has train/NAME.png, trainannot/NAME.png and the same of
val and test. Classes are grouped and pictures split as in SegNet's lists: 367, 101 and 233.
"""

import argparse
import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import cv2
import numpy as np

from mmseg_ssprompt.files import write_atomically

IMAGES, MASKS = '701_StillsRaw_full', 'LabeledApproved_full'
VOID = 11
#: The colours of the original classes, RGB, by the id of their group.
COLOURS: Dict[int, Dict[str, Tuple[int, int, int]]] = {
    0: {'Sky': (128, 128, 128)},
    1: {
        'Building': (128, 0, 0),
        'Archway': (192, 0, 128),
        'Bridge': (0, 128, 64),
        'Tunnel': (64, 0, 64),
        'Wall': (64, 192, 0),
    },
    2: {'Column_Pole': (192, 192, 128), 'TrafficCone': (0, 0, 64)},
    3: {
        'Road': (128, 64, 128),
        'LaneMkgsDriv': (128, 0, 192),
        'LaneMkgsNonDriv': (192, 0, 64),
    },
    4: {
        'Sidewalk': (0, 0, 192),
        'ParkingBlock': (64, 192, 128),
        'RoadShoulder': (128, 128, 192),
    },
    5: {'Tree': (128, 128, 0), 'VegetationMisc': (192, 192, 0)},
    6: {
        'SignSymbol': (192, 128, 128),
        'Misc_Text': (128, 128, 64),
        'TrafficLight': (0, 64, 64),
    },
    7: {'Fence': (64, 64, 128)},
    8: {
        'Car': (64, 0, 128),
        'SUVPickupTruck': (64, 128, 192),
        'Truck_Bus': (192, 128, 192),
        'Train': (192, 64, 128),
        'OtherMoving': (128, 64, 64),
    },
    9: {
        'Pedestrian': (64, 64, 0),
        'Child': (192, 128, 64),
        'CartLuggagePram': (64, 0, 192),
        'Animal': (64, 128, 64),
    },
    10: {'Bicyclist': (0, 128, 192), 'MotorcycleScooter': (192, 0, 192)},
    VOID: {'Void': (0, 0, 0)},
}
#: A mask with more pixels in other colours is none of CamVid's.
MAX_UNKNOWN = 0.01


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Arrange the original CamVid as SegNet did')
    parser.add_argument('dataset_path', type=Path, help=f'has {IMAGES} and {MASKS}')
    parser.add_argument('-o', '--out-dir', type=Path, default=Path('data/CamVid'))
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="480 360 is SegNet's; default: as the files are, 960 x 720",
    )
    return parser.parse_args()


def find_split(name: str) -> str:
    """The split of a picture, by the sequence and the frame in its name."""
    if name.startswith('Seq05VD_') or '0001TP_008550' <= name <= '0001TP_010380':
        return 'test'
    return 'val' if '0016E5_07959' <= name <= '0016E5_08159' else 'train'


def make_table() -> np.ndarray:
    """Ids by the number of a colour, 65536 R + 256 G + B; 255 is no colour of CamVid."""
    table = np.full(1 << 24, 255, np.uint8)
    for number, colours in COLOURS.items():
        for red, green, blue in colours.values():
            table[(red << 16) + (green << 8) + blue] = number
    return table


def read(file: Path) -> np.ndarray:
    """A picture, (H, W, 3) BGR.

    Raises:
        SystemExit: If it cannot be read.
    """
    picture: Optional[np.ndarray] = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f'{str(file)!r}: expected a picture, but it cannot be read')
    return picture


def read_labels(file: Path, table: np.ndarray) -> np.ndarray:
    """A colour mask as ids, (H, W) uint8; single pixels of unknown colours become void.

    Raises:
        SystemExit: If it cannot be read, or more than 1 % of it has other colours.
    """
    blue, green, red = read(file).astype(np.int64).transpose(2, 0, 1)
    numbers = (red << 16) + (green << 8) + blue
    labels: np.ndarray = table[numbers]
    unknown = labels == 255
    if unknown.mean() > MAX_UNKNOWN:
        first = numbers[unknown][0]
        colour = (int(first >> 16), int(first >> 8 & 255), int(first & 255))
        raise SystemExit(
            f"{str(file)!r}: expected CamVid's colours, found others in "
            f'{100 * unknown.mean():.1f} % of the pixels, such as RGB {colour}. Give the masks as '
            'they are published: PNG, neither resized nor stored as JPEG'
        )
    labels[unknown] = VOID
    return labels


def list_names(folder: Path) -> List[str]:
    """The names of all pictures, each of which has a mask.

    Raises:
        SystemExit: If there are none, or a mask is missing.
    """
    names = sorted(path.stem for path in (folder / IMAGES).glob('*.png'))
    if not names:
        raise SystemExit(f'{str(folder / IMAGES)!r}: expected NAME.png, found none')
    missing = [name for name in names if not (folder / MASKS / f'{name}_L.png').is_file()]
    if missing:
        raise SystemExit(
            f'{str(folder / MASKS)!r}: expected NAME_L.png of each of {len(names)} pictures; '
            f'{len(missing)} are missing, the first is {missing[0]}_L.png'
        )
    return names


def check_out_dir(source: Path, out_dir: Path) -> None:
    """Refuse a folder that has something, or lies in the original.

    Raises:
        SystemExit: If so.
    """
    if source.resolve() in (out_dir.resolve(), *out_dir.resolve().parents):
        raise SystemExit(f'--out-dir {str(out_dir)!r} lies in the original: choose another one')
    if out_dir.exists() and (not out_dir.is_dir() or os.listdir(out_dir)):
        raise SystemExit(f'--out-dir {str(out_dir)!r}: expected a new or an empty folder')


def write_png(picture: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, cv2.imencode('.png', picture)[1].tobytes())


def main() -> None:
    args = parse_args()
    names, table = list_names(args.dataset_path), make_table()
    check_out_dir(args.dataset_path, args.out_dir)
    counts = dict.fromkeys(('train', 'val', 'test'), 0)
    for name in names:
        picture = read(args.dataset_path / IMAGES / f'{name}.png')
        mask = args.dataset_path / MASKS / f'{name}_L.png'
        labels = read_labels(mask, table)
        if labels.shape != picture.shape[:2]:
            raise SystemExit(
                f'{str(mask)!r} has {labels.shape[1]} x {labels.shape[0]} pixels, but its picture '
                f'has {picture.shape[1]} x {picture.shape[0]}'
            )
        if args.size:
            picture = cv2.resize(picture, args.size, interpolation=cv2.INTER_AREA)
            labels = cv2.resize(labels, args.size, interpolation=cv2.INTER_NEAREST)
        split = find_split(name)
        counts[split] += 1
        write_png(picture, args.out_dir / split / f'{name}.png')
        write_png(labels, args.out_dir / f'{split}annot' / f'{name}.png')
    said = ', '.join(f'{count} of {split}' for split, count in counts.items())
    print(f'{args.out_dir}: {said}')


if __name__ == '__main__':
    main()
