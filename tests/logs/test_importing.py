import pytest

from fusion_rt.errors import LogError
from fusion_rt.logs.importing import detect_kitti, import_kitti, import_recording
from fusion_rt.logs.pcd import PcdFolder, write_cloud


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        (["image_02/data"], "raw"),
        (["velodyne_points/data"], "raw"),
        (["oxts/data"], "raw"),
        (["training/calib", "training/image_2"], "object"),
        (["testing/calib", "testing/velodyne"], "object"),
        (["calib", "velodyne"], "object"),
        (["calib", "velodyne/0000"], "tracking"),
        (["calib", "label_02"], "tracking"),
        (["training/calib", "training/image_02/0001"], "tracking"),
    ],
)
def test_layouts(tmp_path, folders, layout):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    assert detect_kitti(tmp_path) == layout


def test_another_folder_is_refused_and_says_what_was_looked_for(tmp_path):
    with pytest.raises(LogError, match=r"raw drive .*object layout .*tracking layout"):
        detect_kitti(tmp_path)
    with pytest.raises(LogError, match="no such folder"):
        detect_kitti(tmp_path / "gone")


def test_several_logs_need_a_folder(tmp_path):
    (tmp_path / "calib").mkdir()
    (tmp_path / "velodyne").mkdir()
    with pytest.raises(LogError, match=r"drive\.mcap: several logs come of the object layout: name a folder"):
        import_kitti(tmp_path, tmp_path / "drive.mcap")
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="file: the folder cannot be made: File exists"):
        import_kitti(tmp_path, tmp_path / "file")


def test_only_tracking_has_sequences(tmp_path):
    (tmp_path / "oxts" / "data").mkdir(parents=True)
    with pytest.raises(LogError, match="has the raw layout; only tracking has sequences"):
        import_kitti(tmp_path, tmp_path / "a.mcap", sequence="3")


def test_what_is_imported_is_not_overwritten(tmp_path, make):
    write_cloud(tmp_path / "a.pcd", make.cloud(9))
    before = (tmp_path / "a.pcd").read_bytes()
    with pytest.raises(LogError, match=r"a\.pcd: is a part of what is imported"):
        import_recording(PcdFolder(tmp_path), tmp_path / "a.pcd")
    assert (tmp_path / "a.pcd").read_bytes() == before
